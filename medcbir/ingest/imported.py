"""Vectors made elsewhere: read from a file, checked, normalised, written by binary COPY."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.errors import EncoderError, InputError, VectorError
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder, add_imported_encoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import copy_in, partition, unit
from medcbir.types import ImportReport


def import_vectors(connection: Connection, file: Path, encoder_name: str) -> ImportReport:
    """Store the vectors of `file` under an encoder of this name, which is added if it is new; all of them or none.

    `file` is a .npz of arrays `uri` (n,) text and `vector` (n, dim) numbers, and `frame` (n,) integers where uris have
    several frames. A uri that the catalogue lacks is left out and told. Raises `InputError` for a file of another
    shape, `VectorError` for a zero or non-finite vector, `EncoderError` for another dimension than stored before, a
    name that belongs to an encoder of this program, or an image that has another vector already.
    """
    uris, frames, given = _read(file)
    vectors = unit(given)
    with connection.transaction():
        encoder = add_imported_encoder(connection, encoder_name, vectors.shape[1])
        if not encoder.imported:
            raise EncoderError(
                f"encoder {encoder_name} has vectors that were made here from its weights: import under another name"
            )
        positions, ids = _resolve(connection, uris, frames)
        stored = _stored(connection, encoder, ids)
        is_new = np.array([image_id not in stored for image_id in ids.tolist()], dtype=bool)
        for position, image_id in zip(positions[~is_new].tolist(), ids[~is_new].tolist(), strict=True):
            if not np.allclose(stored[image_id], vectors[position], rtol=0, atol=1e-6):
                raise EncoderError(
                    f"{uris[position]} has another vector of encoder {encoder_name} already: import under another name"
                )
        copy_in(connection, encoder.name, ids[is_new], vectors[positions[is_new]])
    unknown = np.setdiff1d(np.arange(len(uris)), positions)
    return ImportReport(
        encoder=encoder.name,
        dim=encoder.dim,
        added=int(is_new.sum()),
        unchanged=int((~is_new).sum()),
        unknown=len(unknown),
        unknown_uris=tuple(str(uris[position]) for position in unknown[:5]),
    )


def _read(file: Path) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64], npt.NDArray[Any]]:
    if not file.is_file():
        raise InputError(f"no such file: {file}")
    if not zipfile.is_zipfile(file):
        raise InputError(f"cannot read {file.name}: it is no .npz file of numpy")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            missing = {"uri", "vector"} - set(arrays.files)
            if missing:
                raise InputError(
                    f"{file.name} lacks array {' and '.join(sorted(missing))}: it needs `uri` and `vector`"
                )
            uris, vectors = arrays["uri"], arrays["vector"]
            frames = arrays["frame"] if "frame" in arrays.files else np.zeros(len(uris), dtype=np.int64)
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            reason = "it holds Python objects; save `uri` as text (numpy dtype str), `vector` as float32"
        else:
            reason = "it is no .npz file of numpy"
        raise InputError(f"cannot read {file.name}: {reason}") from None
    if uris.ndim != 1 or uris.dtype.kind not in "US":
        raise InputError(f"{file.name}: `uri` must be one-dimensional text, found {uris.dtype} of shape {uris.shape}")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise VectorError(
            f"{file.name}: `vector` must be numbers of shape (n, dim), found {vectors.dtype} of shape {vectors.shape}"
        )
    if not len(uris) == len(vectors) == len(frames):
        raise InputError(f"{file.name}: {len(uris)} uris, {len(vectors)} vectors and {len(frames)} frames do not match")
    if frames.ndim != 1 or frames.dtype.kind not in "iu" or not ((frames >= 0) & (frames < 2**31)).all():
        raise InputError(f"{file.name}: `frame` must be one-dimensional whole numbers, of which the first is 0")
    try:
        uris = np.char.decode(uris, "utf-8") if uris.dtype.kind == "S" else uris
        if b"\0" in "".join(uris.tolist()).encode():
            raise InputError(f"{file.name}: `uri` holds a NUL character")
    except UnicodeError:
        raise InputError(f"{file.name}: `uri` is not UTF-8 text") from None
    keys, counts = np.unique(np.char.add(np.char.add(uris, "#"), frames.astype(str)), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{file.name}: {keys[counts > 1][0].rpartition('#')[0]} occurs more than once")
    return uris, frames.astype(np.int64), vectors


def _resolve(
    connection: Connection, uris: npt.NDArray[np.str_], frames: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the known uris (m,) and their image ids (m,)."""
    connection.execute(
        "CREATE TEMPORARY TABLE wanted (position integer, uri text NOT NULL, frame integer NOT NULL) ON COMMIT DROP"
    )
    with connection.cursor() as cursor, cursor.copy("COPY wanted FROM STDIN") as copy:
        for position, (uri, frame) in enumerate(zip(uris.tolist(), frames.tolist(), strict=True)):
            copy.write_row((position, uri, frame))
    connection.execute("ANALYZE wanted")
    found = np.array(connection.execute(query("resolve_uris")).fetchall(), dtype=np.int64).reshape(-1, 2)
    positions, counts = np.unique(found[:, 0], return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{uris[positions[counts > 1][0]]} is in more than one dataset: which is meant cannot be told")
    return found[:, 0].copy(), found[:, 1].copy()


def _stored(
    connection: Connection, encoder: StoredEncoder, ids: npt.NDArray[np.int64]
) -> dict[int, npt.NDArray[np.float32]]:
    statement = sql.SQL("SELECT image_id, v::real[] FROM {} WHERE image_id = ANY(%s)")
    rows = connection.execute(statement.format(partition(encoder.name)), (ids.tolist(),)).fetchall()
    return {image_id: np.asarray(vector, dtype=np.float32) for image_id, vector in rows}
