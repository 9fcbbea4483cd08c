"""An encoder's vectors out of the database into a file, bit for bit, a batch at a time."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from psycopg import sql

from medcbir.errors import InputError
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vector_files import Layout, VectorBatch, write_vectors
from medcbir.store.vectors import partition
from medcbir.types import Filter

_BATCH = 4096


def export_vectors(connection: Connection, encoder: StoredEncoder, file: Path, where: Filter) -> int:
    """Write the vectors of `encoder` whose image has the dataset and split of `where`; return how many there are.

    Under one snapshot, in the order of image ids. Raises `InputError` where there is none, and as `write_vectors` does.
    """
    names, chosen = {"partition": partition(encoder.name)}, asdict(where)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        size = sql.SQL(query("exported_vectors_size")).format(**names)
        row = connection.execute(size, chosen).fetchone()
        assert row is not None  # noqa: S101
        if row[0] == 0:
            raise InputError(
                f"no image of this choice has a vector of encoder {encoder.name}, so {file} is not written"
            )
        layout = Layout(row[0], encoder.dim, row[1], row[2])
        statement = sql.SQL(query("exported_vectors")).format(**names)
        write_vectors(file, layout, _batches(connection, statement, chosen, encoder.dim))
    return layout.rows


def _batches(
    connection: Connection, statement: sql.Composed, chosen: dict[str, str | None], dim: int
) -> Iterator[VectorBatch]:
    sent = np.dtype([("dim", ">i2"), ("unused", ">i2"), ("v", ">f4", (dim,))])
    with connection.cursor(name="exported_vectors", binary=True) as cursor:
        cursor.execute(statement, chosen)
        while rows := cursor.fetchmany(_BATCH):
            vectors = np.frombuffer(b"".join(row[2] for row in rows), dtype=sent)["v"].astype(np.float32)
            frames = np.array([row[1] for row in rows], dtype=np.int64)
            yield VectorBatch([row[0] for row in rows], frames, vectors)
