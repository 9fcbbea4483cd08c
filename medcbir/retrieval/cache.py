"""Vectors of an encoder as a memory-mapped file, so that a run need not read them out of the database again.

A file is named after the database, the encoder and the row versions that it was filled from (where each row stands and
which transaction wrote it), as the run's own snapshot sees them. It never changes: other contents are another file.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.errors import RunError
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import copy_out, partition
from medcbir.types import Vectors


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """All vectors of an encoder: image ids (n,) ascending, the rows (n,) where they are, vectors (n, dim) float32."""

    image_ids: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    vectors: Vectors

    def rows(self, image_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where the vectors of these images (m,) are; each must have one."""
        return self.order[np.searchsorted(self.image_ids, image_ids)]


def cached_vectors(connection: Connection, encoder: StoredEncoder, folder: Path) -> CachedVectors:
    """The encoder's vectors as the connection's transaction sees them, copied out where no file holds them yet.

    The transaction must be repeatable read. Older contents of the same encoder are removed; a process that still reads
    them keeps them until it ends. Raises `RunError` if the folder cannot be written.
    """
    statement = sql.SQL(query("vectors_version")).format(partition=partition(encoder.name))
    row = connection.execute(statement, {"partition": partition(encoder.name).as_string(connection)}).fetchone()
    assert row is not None  # noqa: S101
    count, database, version = row
    owner = hashlib.sha256(database.encode()).hexdigest()[:16]
    file = folder / f"{encoder.name}-{owner}-{hashlib.sha256(version.encode()).hexdigest()[:32]}.vectors"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder / f"{encoder.name}-{owner}.lock"):
            if not file.exists() or file.stat().st_size != count * (8 + 4 * encoder.dim):
                _fill(connection, encoder, file)
            for other in folder.glob(f"{encoder.name}-{owner}-*"):
                if other != file:
                    other.unlink()
            return _open(file, count, encoder.dim)
    except OSError as error:
        raise RunError(
            f"cannot keep a copy of the vectors in {folder}: {error.strerror}; choose another --data-dir, or "
            "`--engine pgvector`, which needs none"
        ) from None


def _fill(connection: Connection, encoder: StoredEncoder, file: Path) -> None:
    """Write the vectors and then the ids; the name appears when all is on disk."""
    draft = file.with_suffix(".draft")
    ids = []
    with open(draft, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        for image_ids, vectors in copy_out(connection, encoder.name, encoder.dim):
            ids.append(image_ids)
            out.write(vectors.data)
        out.write(np.concatenate([*ids, np.empty(0, np.int64)]).data)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def _open(file: Path, count: int, dim: int) -> CachedVectors:
    # Copy-on-write: torch wants memory that may be written, and nobody writes.
    vectors = np.memmap(file, np.float32, "c", shape=(count, dim))
    ids = np.fromfile(file, np.int64, offset=4 * count * dim)
    order = np.argsort(ids)
    return CachedVectors(ids[order], order, vectors)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other processes from filling the same cache; the kernel drops the lock with the process."""
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
