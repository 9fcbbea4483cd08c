"""Vectors made elsewhere: read from a file, checked, normalised, written by binary COPY, a batch at a time."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.errors import EncoderError, InputError, VectorError
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder, add_imported_encoder
from medcbir.store.sqlfiles import query
from medcbir.store.vector_files import VectorBatch, read_vectors
from medcbir.store.vectors import copy_in, partition, unit
from medcbir.types import ImportReport

_TOLD = 5  # unknown uris that the report names


def import_vectors(connection: Connection, file: Path, encoder_name: str) -> ImportReport:
    """Store the vectors of `file` under an encoder of this name, which is added if it is new; all of them or none.

    `file` is .npz, Parquet or HDF5 as `medcbir.store.vector_files` has them. A uri that the catalogue lacks is left out
    and told. Raises `InputError` for a file of another shape, `VectorError` for a zero or non-finite vector,
    `EncoderError` for another dimension than stored before, a name that belongs to an encoder of this program, or an
    image that has another vector already.
    """
    encoder: StoredEncoder | None = None
    added = unchanged = unknown = 0
    unknown_uris: list[str] = []
    seen: set[int] = set()
    with connection.transaction():
        for batch in read_vectors(file):
            vectors = unit(batch.vectors)
            encoder = encoder or _encoder(connection, encoder_name, vectors.shape[1])
            if vectors.shape[1] != encoder.dim:
                raise VectorError(f"{file.name}: vectors of {encoder.dim} and of {vectors.shape[1]} dimensions")
            positions, ids = _resolve(connection, batch)
            again = next((at for at, image_id in zip(positions, ids.tolist(), strict=True) if image_id in seen), None)
            if again is not None:
                raise InputError(f"{file.name}: {batch.uris[again]} occurs more than once")
            seen.update(ids.tolist())
            is_new = _is_new(connection, encoder, batch, vectors, positions, ids)
            copy_in(connection, encoder.name, ids[is_new], vectors[positions[is_new]])
            absent = np.setdiff1d(np.arange(len(batch.uris)), positions)
            added, unchanged = added + int(is_new.sum()), unchanged + int((~is_new).sum())
            unknown += len(absent)
            unknown_uris += [batch.uris[at] for at in absent[: _TOLD - len(unknown_uris)]]
        if encoder is None:
            raise InputError(f"{file.name} holds no vectors")
    return ImportReport(encoder.name, encoder.dim, added, unchanged, unknown, tuple(unknown_uris))


def _encoder(connection: Connection, name: str, dim: int) -> StoredEncoder:
    encoder = add_imported_encoder(connection, name, dim)
    if not encoder.imported:
        raise EncoderError(
            f"encoder {name} has vectors that were made here from its weights: import under another name"
        )
    return encoder


def _is_new(
    connection: Connection,
    encoder: StoredEncoder,
    batch: VectorBatch,
    vectors: npt.NDArray[np.float32],
    positions: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Which of the images `ids` (m,) have no vector yet; one that has another is refused."""
    stored = _stored(connection, encoder, ids)
    for position, image_id in zip(positions.tolist(), ids.tolist(), strict=True):
        if image_id in stored and not np.allclose(stored[image_id], vectors[position], rtol=0, atol=1e-6):
            raise EncoderError(
                f"{batch.uris[position]} has another vector of encoder {encoder.name} already: import under another "
                "name"
            )
    return np.array([image_id not in stored for image_id in ids.tolist()], dtype=bool)


def _resolve(connection: Connection, batch: VectorBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the known uris (m,) and their image ids (m,)."""
    connection.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS wanted (position integer, uri text NOT NULL, frame integer NOT NULL) "
        "ON COMMIT DROP; TRUNCATE wanted"
    )
    with connection.cursor() as cursor, cursor.copy("COPY wanted FROM STDIN") as copy:
        for position, (uri, frame) in enumerate(zip(batch.uris, batch.frames.tolist(), strict=True)):
            copy.write_row((position, uri, frame))
    connection.execute("ANALYZE wanted")
    found = np.array(connection.execute(query("resolve_uris")).fetchall(), dtype=np.int64).reshape(-1, 2)
    positions, counts = np.unique(found[:, 0], return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"{batch.uris[positions[counts > 1][0]]} is in more than one dataset: which is meant cannot be told"
        )
    return found[:, 0].copy(), found[:, 1].copy()


def _stored(
    connection: Connection, encoder: StoredEncoder, ids: npt.NDArray[np.int64]
) -> dict[int, npt.NDArray[np.float32]]:
    statement = sql.SQL("SELECT image_id, v::real[] FROM {} WHERE image_id = ANY(%s)")
    rows = connection.execute(statement.format(partition(encoder.name)), (ids.tolist(),)).fetchall()
    return {image_id: np.asarray(vector, dtype=np.float32) for image_id, vector in rows}
