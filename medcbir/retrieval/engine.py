"""What every engine gets and gives, and the engine that is pgvector's own."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.retrieval.certificate import Certificate
from medcbir.retrieval.image_sets import Exclusions, Ids, ImageSet
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition


@dataclass(frozen=True, slots=True)
class Task:
    """One run as an engine sees it; `connection` is inside its snapshot, where table run_index holds the index.

    An engine may keep copies of vectors in `cache_dir`.
    """

    connection: Connection
    encoder: StoredEncoder
    n: int
    queries: ImageSet
    index: ImageSet
    exclusions: Exclusions
    cache_dir: Path


Hits = tuple[int, Ids, npt.NDArray[np.float64]]
"""A query's position, and the ids and distances of its hits and of the one after them, nearest first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a block of queries, in their order, and what vouches for them."""

    block: range
    hits: list[Hits]
    certificate: Certificate


Engine = Callable[[Task, Iterable[range]], Generator[Answer, None, None]]
"""Answers blocks of queries, given by their positions, in turn; it may ask for some blocks ahead."""

BLOCKS = {"pgvector": 32, "blocked": 8192}
"""Queries in a block at most: what one process answers at a time, and what is lost when it is killed."""

_OVERLAPPING, _LEAST = 4, 256  # blocks that a run is cut into at least, if they are not too small
_PAIRS = 1 << 24  # of a block, at most, are aimed at


def pgvector(task: Task, blocks: Iterable[range]) -> Generator[Answer, None, None]:
    """One SQL statement per query. The definition that other engines are held to; right for small runs."""
    for block in blocks:
        hits = by_statement(task, np.arange(block.start, block.stop))
        certificate = Certificate(
            engine="pgvector", queries=len(block), pairs=len(block) * len(task.index), most_pairs=len(task.index)
        )
        yield Answer(block, hits, certificate.with_margins([distances for _, _, distances in hits], task.n))


def by_statement(task: Task, positions: Ids) -> list[Hits]:
    """Hits of the queries at `positions` (p,), and the one after them, by pgvector alone."""
    statement = sql.SQL(query("top_n_in_run")).format(partition=partition(task.encoder.name))
    task.connection.execute(
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL jit = off; "
        "SET LOCAL enable_hashjoin = on; SET LOCAL enable_nestloop = on; "
        "SET LOCAL work_mem = '128MB'"  # the set of index images is then hashed, not the vectors
    )
    found = []
    for position in positions.tolist():
        patient = int(task.queries.patient_ids[position]) if task.exclusions.same_patient else 0
        rows = task.connection.execute(
            statement,
            {
                "query_id": int(task.queries.image_ids[position]),
                "patient_id": patient or None,
                "study_id": int(task.queries.study_ids[position]) or None,
                "picture_id": int(task.queries.picture_ids[position]),
                "n": task.n + 1,
            },
            prepare=True,
        ).fetchall()
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        found.append((position, ids, np.array([row[1] for row in rows], dtype=np.float64)))
    return found


def blocked(task: Task, blocks: Iterable[range]) -> Generator[Answer, None, None]:
    """The same hits by matrix products and a bound on their error; right for large runs."""
    from medcbir.retrieval.blocked import blocked  # imports torch, and this module

    return blocked(task, blocks)


ENGINES: dict[str, Engine] = {"pgvector": pgvector, "blocked": blocked}


def choose(queries: int, images: int) -> str:
    """The engine that is likely to finish first: starting the blocked one pays from some millions of pairs on."""
    return "blocked" if queries * images >= 5_000_000 else "pgvector"


def blocks_of(engine: str, queries: int, n: int) -> list[range]:
    """The positions of so many queries in blocks."""
    size = max(1, min(BLOCKS[engine], _PAIRS // (8 * n), max(_LEAST, -(-queries // _OVERLAPPING))))
    return [range(start, min(start + size, queries)) for start in range(0, queries, size)]
