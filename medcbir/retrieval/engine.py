"""What every engine gets and gives, and the engine that is pgvector's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images that take part in a run, sorted by id: ids (n,), patients (n,) and classes (n,), 0 for none."""

    image_ids: Ids
    patient_ids: Ids
    label_ids: Ids

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True, slots=True)
class Task:
    """One run as an engine sees it; `connection` is inside its snapshot, where table run_index holds the index."""

    connection: Connection
    encoder: StoredEncoder
    n: int
    queries: ImageSet
    index: ImageSet
    exclude_same_patient: bool


Engine = Callable[[Task], Iterator[tuple[int, Ids, npt.NDArray[np.float64]]]]
"""Yields, for each query in order, its position, and the ids and distances of its hits, nearest first."""


def pgvector(task: Task) -> Iterator[tuple[int, Ids, npt.NDArray[np.float64]]]:
    """One SQL statement per query. The definition that other engines are held to; right for small runs."""
    statement = sql.SQL(query("top_n_in_run")).format(partition=partition(task.encoder.name))
    task.connection.execute(
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL jit = off"
    )
    patients = task.queries.patient_ids if task.exclude_same_patient else np.zeros_like(task.queries.patient_ids)
    for position, (query_id, patient_id) in enumerate(zip(task.queries.image_ids, patients, strict=True)):
        rows = task.connection.execute(
            statement,
            {"query_id": int(query_id), "patient_id": int(patient_id) or None, "n": task.n},
            prepare=True,
        ).fetchall()
        yield (
            position,
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.float64),
        )


ENGINES: dict[str, Engine] = {"pgvector": pgvector}
