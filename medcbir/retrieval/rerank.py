"""pgvector's own distances of many pairs of images, in one statement, and the hits that follow."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.retrieval.candidates import Candidates
from medcbir.retrieval.engine import Hits, Task
from medcbir.retrieval.image_sets import Ids
from medcbir.store.binary_copy import COPY_HEADER, COPY_TRAILER, copy_columns
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition

_PAIR = np.dtype(
    [
        ("fields", ">i2"),
        ("number_bytes", ">i4"),
        ("number", ">i4"),
        ("query_id_bytes", ">i4"),
        ("query_id", ">i8"),
        ("image_id_bytes", ">i4"),
        ("image_id", ">i8"),
    ]
)
_PREPARE = """
CREATE TEMPORARY TABLE IF NOT EXISTS run_pair (number integer, query_id bigint, image_id bigint) ON COMMIT DROP;
TRUNCATE run_pair;
SET LOCAL enable_mergejoin = off;
SET LOCAL jit = off;
"""
_LOOK_UP = "SET LOCAL enable_indexscan = on; SET LOCAL enable_nestloop = on; SET LOCAL enable_hashjoin = off"
_SCAN = (
    "SET LOCAL enable_indexscan = off; SET LOCAL enable_nestloop = off; SET LOCAL enable_hashjoin = on; "
    "SET LOCAL join_collapse_limit = 1; SET LOCAL work_mem = '256MB'"
)
_SCANNED_PER_LOOKED_UP = 12  # rows that a scan reads in the time of one pair's look-ups


def distances(
    connection: Connection, encoder: StoredEncoder, query_ids: Ids, image_ids: Ids, *, stored: int
) -> npt.NDArray[np.float64]:
    """Distances (m,) of the pairs of `query_ids` (m,) and `image_ids` (m,) inside the connection's transaction.

    Pairs of one query should follow each other: its vector is then looked up once. About `stored` vectors are in the
    encoder's table, which decides whether it is better read as a whole.
    """
    scan = len(query_ids) * _SCANNED_PER_LOOKED_UP >= stored
    pairs = np.zeros(len(query_ids), dtype=_PAIR)
    pairs["fields"], pairs["number_bytes"], pairs["query_id_bytes"], pairs["image_id_bytes"] = 3, 4, 8, 8
    pairs["number"], pairs["query_id"], pairs["image_id"] = np.arange(len(pairs)), query_ids, image_ids
    statement = query("distances_of_pairs_by_scan" if scan else "distances_of_pairs")
    select = sql.SQL(statement).format(partition=partition(encoder.name))
    with connection.cursor() as cursor:
        cursor.execute(_PREPARE + (_SCAN if scan else _LOOK_UP))
        with cursor.copy("COPY run_pair FROM STDIN (FORMAT binary)") as copy:
            copy.write(COPY_HEADER)
            copy.write(pairs.tobytes())
            copy.write(COPY_TRAILER)
    rows = copy_columns(connection, select, {}, {"number": "integer", "distance": "double precision"})
    found = np.empty(len(pairs))
    found[rows["number"]] = rows["distance"]
    return found


def ranked(task: Task, pairs: Candidates, measured: npt.NDArray[np.float64], positions: range) -> Iterator[Hits]:
    """Hits of the queries at `positions`, and the one after the n-th where there is one, as (distance, image id) order.

    `measured` (m,) are the distances of `pairs`.
    """
    image_ids = task.index.image_ids[pairs.images]
    order = np.lexsort((image_ids, measured, pairs.queries))
    ends = np.searchsorted(pairs.queries[order], np.arange(positions.start, positions.stop + 1))
    image_ids, measured = image_ids[order], measured[order]
    for position, first, last in zip(positions, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        kept = slice(first, min(last, first + task.n + 1))
        yield position, image_ids[kept], measured[kept]
