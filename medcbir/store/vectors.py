"""Vectors in and out of PostgreSQL by binary COPY, with buffers built and read by numpy.

Wire format: PostgreSQL's COPY BINARY and pgvector's send format (int16 dim, int16 unused, dim x float32).
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.errors import VectorError
from medcbir.store.binary_copy import COPY_HEADER, COPY_TRAILER, copy_columns
from medcbir.store.connection import Connection
from medcbir.types import Vectors

_ROWS_PER_CHUNK = 4096
_ROUNDING = 2.0**-23  # of a unit vector's norm by float32: half a unit in the last place of each component, and slack


def partition(encoder: str) -> sql.Identifier:
    """The partition of `embedding` that holds this encoder's vectors."""
    return sql.Identifier("medcbir", f"embedding_{encoder}")


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Rows of `vectors` (n, dim) scaled to unit L2 norm in float64, as float32.

    A float32 row whose norm is 1 to within float32's rounding stays bit for bit, so scaling again changes nothing.
    Raises `VectorError` for a zero or non-finite row, naming the first.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    if wide.ndim != 2:
        raise VectorError(f"expected vectors of shape (n, dim), found {wide.shape}")
    scale = np.abs(wide).max(axis=1, initial=0.0)
    wrong = np.flatnonzero(~np.isfinite(scale) | (scale == 0))
    if wrong.size:
        what = "zero" if scale[wrong[0]] == 0 else "not finite"
        raise VectorError(
            f"{wrong.size} of {len(wide)} vectors cannot be normalised; the first, row {wrong[0]}, is {what}"
        )
    wide = wide / scale[:, None]  # squares of tiny or huge components would leave the range of floats
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    normalised: Vectors = (wide / norms).astype(np.float32)
    given = np.asarray(vectors)
    if given.dtype == np.float32:
        already = np.abs(norms * scale[:, None] - 1)[:, 0] <= _ROUNDING
        normalised[already] = given[already]
    return normalised


@cache
def _row(dim: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("fields", ">i2"),
            ("image_id_bytes", ">i4"),
            ("image_id", ">i8"),
            ("v_bytes", ">i4"),
            ("dim", ">i2"),
            ("unused", ">i2"),
            ("v", ">f4", (dim,)),
        ]
    )


def copy_in(connection: Connection, encoder: str, image_ids: npt.NDArray[np.int64], vectors: Vectors) -> None:
    """COPY `vectors` (n, dim) of unit norm for `image_ids` (n,) into the encoder's partition."""
    dim = vectors.shape[1]
    statement = sql.SQL("COPY {} (image_id, v) FROM STDIN (FORMAT binary)").format(partition(encoder))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER)
        for start in range(0, len(vectors), _ROWS_PER_CHUNK):
            chunk = slice(start, start + _ROWS_PER_CHUNK)
            rows = np.zeros(len(vectors[chunk]), dtype=_row(dim))
            rows["fields"] = 2
            rows["image_id_bytes"] = 8
            rows["image_id"] = image_ids[chunk]
            rows["v_bytes"] = 4 + 4 * dim
            rows["dim"] = dim
            rows["v"] = vectors[chunk]
            copy.write(rows.tobytes())
        copy.write(COPY_TRAILER)


def copy_out(
    connection: Connection, encoder: str, dim: int, *, only: npt.NDArray[np.int64] | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
    """All vectors of an encoder, in storage order, as chunks of image ids (n,) and vectors (n, dim) float32.

    Or those of the images `only` (m,), in any order.
    """
    row = _row(dim)
    chosen = sql.SQL("") if only is None else sql.SQL(" WHERE image_id = ANY({})").format(sql.Literal(only.tolist()))
    statement = sql.SQL("COPY (SELECT image_id, v FROM {}{}) TO STDOUT (FORMAT binary)").format(
        partition(encoder), chosen
    )
    pending = bytearray()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        skip = 19  # signature (11), flags (4), header extension length (4)
        for block in copy:
            pending += block
            if skip and len(pending) >= skip:
                del pending[:skip]
                skip = 0
            whole = len(pending) // row.itemsize
            if not skip and whole >= _ROWS_PER_CHUNK:
                yield _columns(pending, row, whole)
                del pending[: whole * row.itemsize]
        whole = len(pending) // row.itemsize
        if whole:
            yield _columns(pending, row, whole)


def image_ids_of(connection: Connection, encoder: str) -> npt.NDArray[np.int64]:
    """Ids (n,) of the images that have a vector of the encoder, in no order."""
    select = sql.SQL("SELECT image_id FROM {}").format(partition(encoder))
    return copy_columns(connection, select, {}, {"image_id": "bigint"})["image_id"]


def _columns(buffer: bytearray, row: np.dtype[np.void], count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
    rows = np.frombuffer(bytes(buffer[: count * row.itemsize]), dtype=row)
    return rows["image_id"].astype(np.int64), rows["v"].astype(np.float32)
