"""The approximate index of an encoder, which is optional: made, removed, and held against the exact answer.

Only the SQL function `approximate_top_n` uses it. It indexes the vectors in half precision (pgvector's halfvec), which
halves its size, and so that no ORDER BY on exact vectors, a user's own included, can ever be answered from it.
"""

import time
from dataclasses import dataclass

from psycopg import sql

from medcbir.errors import EncoderError, InputError, RunError
from medcbir.retrieval.search import check_n
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.vectors import partition

_LARGEST_DIM = 4000  # of a halfvec that HNSW can index


@dataclass(frozen=True, slots=True)
class Recall:
    """Of so many stored images as queries, the share of the exact `n` nearest that the index found; seconds per query.

    A hit as near as the n-th exact one counts as found. `least` is the lowest recall of one query.
    """

    encoder: str
    n: int
    ef_search: int
    queries: int
    recall: float
    least: float
    seconds: float
    exact_seconds: float


def name_of(encoder: StoredEncoder) -> sql.Identifier:
    """The index of this encoder."""
    return sql.Identifier("medcbir", f"embedding_{encoder.name}_hnsw")


def build(connection: Connection, encoder: StoredEncoder, *, m: int = 16, ef_construction: int = 64) -> float:
    """Make the encoder's index and return the seconds it took; writers wait. Raises `InputError` where it has one."""
    if encoder.dim > _LARGEST_DIM:
        raise EncoderError(f"HNSW indexes up to {_LARGEST_DIM} dimensions, encoder {encoder.name} has {encoder.dim}")
    if not 2 <= m <= 100 or not 2 * m <= ef_construction <= 1000:
        raise InputError("m must be 2 to 100, ef_construction at least twice that and up to 1000")
    if _exists(connection, encoder):
        raise InputError(f"encoder {encoder.name} has an index: remove it with `medcbir index drop` first")
    started = time.perf_counter()
    connection.execute(
        sql.SQL(
            "CREATE INDEX {} ON {} USING hnsw ((v::halfvec({})) halfvec_cosine_ops) WITH (m = {}, ef_construction = {})"
        ).format(
            sql.Identifier(f"embedding_{encoder.name}_hnsw"),
            partition(encoder.name),
            *(sql.Literal(number) for number in (encoder.dim, m, ef_construction)),
        )
    )
    return time.perf_counter() - started


def drop(connection: Connection, encoder: StoredEncoder) -> None:
    """Remove the encoder's index. Raises `RunError` where it has none."""
    _require(connection, encoder)
    connection.execute(sql.SQL("DROP INDEX {}").format(name_of(encoder)))


def recall(connection: Connection, encoder: StoredEncoder, *, n: int, queries: int, ef_search: int) -> Recall:
    """How much of the exact answer the index finds, for `queries` stored images, the same each time."""
    check_n(n)
    if queries < 1 or not 1 <= ef_search <= 1000:
        raise InputError("queries must be 1 or more, ef_search 1 to 1000")
    _require(connection, encoder)
    drawn = connection.execute(
        sql.SQL("SELECT image_id FROM {} ORDER BY md5(image_id::text) LIMIT %s").format(partition(encoder.name)),
        (queries,),
    ).fetchall()
    shares, seconds = [], [0.0, 0.0]
    for (image_id,) in drawn:
        found = []
        for way, statement in enumerate(
            (
                "SELECT t.distance FROM top_n(%(query)s, %(encoder)s, %(n)s) AS t ORDER BY t.rank",
                "SELECT t.distance FROM approximate_top_n(%(query)s, %(encoder)s, %(n)s, %(ef_search)s) AS t",
            )
        ):
            arguments = {"query": _vector(connection, encoder, image_id), "encoder": encoder.name, "n": n}
            started = time.perf_counter()
            rows = connection.execute(statement, arguments | {"ef_search": ef_search}).fetchall()
            seconds[way] += time.perf_counter() - started
            found.append([row[0] for row in rows])
        exact, near = found
        shares.append(sum(distance <= exact[-1] for distance in near) / len(exact))
    return Recall(
        encoder.name,
        n,
        ef_search,
        len(drawn),
        sum(shares) / len(shares),
        min(shares),
        seconds[1] / len(drawn),
        seconds[0] / len(drawn),
    )


def _vector(connection: Connection, encoder: StoredEncoder, image_id: int) -> object:
    row = connection.execute(
        sql.SQL("SELECT v FROM {} WHERE image_id = %s").format(partition(encoder.name)), (image_id,)
    ).fetchone()
    assert row is not None  # noqa: S101
    return row[0]


def _exists(connection: Connection, encoder: StoredEncoder) -> bool:
    found = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", (name_of(encoder).as_string(connection),)
    ).fetchone()
    return bool(found and found[0])


def _require(connection: Connection, encoder: StoredEncoder) -> None:
    if not _exists(connection, encoder):
        raise RunError(
            f"encoder {encoder.name} has no approximate index: `medcbir index build --encoder {encoder.name}`"
        )
