"""What every engine gets and gives, and the engine that is pgvector's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """Images that take part in a run, sorted by id: ids (n,), patients (n,) and classes (n,), 0 for none.

    A query never retrieves an image of its own picture (n,): itself, and its exact duplicates where those are excluded.
    """

    image_ids: Ids
    patient_ids: Ids
    label_ids: Ids
    picture_ids: Ids

    def __len__(self) -> int:
        return len(self.image_ids)

    def where(self, chosen: Ids | npt.NDArray[np.bool_]) -> "ImageSet":
        """Those that positions (k,) or a mask (n,) choose."""
        return ImageSet(
            self.image_ids[chosen], self.patient_ids[chosen], self.label_ids[chosen], self.picture_ids[chosen]
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One run as an engine sees it; `connection` is inside its snapshot, where table run_index holds the index.

    An engine may keep copies of vectors in `cache_dir`, and states in `certificate` what vouches for its answer.
    """

    connection: Connection
    encoder: StoredEncoder
    n: int
    queries: ImageSet
    index: ImageSet
    exclude_same_patient: bool
    cache_dir: Path
    certificate: dict[str, Any] = field(default_factory=dict)


Hits = tuple[int, Ids, npt.NDArray[np.float64]]
"""A query's position, and the ids and distances of its hits, nearest first."""

Engine = Callable[[Task], Iterator[Hits]]
"""Yields the hits of each query, in the order of the queries."""


def pgvector(task: Task) -> Iterator[Hits]:
    """One SQL statement per query. The definition that other engines are held to; right for small runs."""
    statement = sql.SQL(query("top_n_in_run")).format(partition=partition(task.encoder.name))
    task.connection.execute(
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL jit = off; "
        "SET LOCAL work_mem = '128MB'"  # the set of index images is then hashed, not the vectors
    )
    patients = task.queries.patient_ids if task.exclude_same_patient else np.zeros_like(task.queries.patient_ids)
    members = zip(task.queries.image_ids, patients, task.queries.picture_ids, strict=True)
    for position, (query_id, patient_id, picture_id) in enumerate(members):
        rows = task.connection.execute(
            statement,
            {
                "query_id": int(query_id),
                "patient_id": int(patient_id) or None,
                "picture_id": int(picture_id),
                "n": task.n,
            },
            prepare=True,
        ).fetchall()
        yield (
            position,
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.float64),
        )


def blocked(task: Task) -> Iterator[Hits]:
    """The same hits by matrix products and a bound on their error; right for large runs."""
    from medcbir.retrieval.blocked import blocked  # imports torch, and this module

    return blocked(task)


ENGINES: dict[str, Engine] = {"pgvector": pgvector, "blocked": blocked}


def choose(queries: int, images: int) -> str:
    """The engine that is likely to finish first: starting the blocked one pays from some millions of pairs on."""
    return "blocked" if queries * images >= 5_000_000 else "pgvector"
