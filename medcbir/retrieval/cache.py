"""Vectors of an encoder as a memory-mapped file, so that a run need not read them out of the database again.

A file is named after the database, the encoder and the changes of its vectors (table vector_change) that the run's
own snapshot sees. It never changes: other contents are another file.
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


@dataclass(frozen=True, slots=True)
class Version:
    """Which changes of an encoder's vectors a snapshot sees; `removals` leaves out those that only added some."""

    database: str
    version: str
    removals: str


def vectors_version(connection: Connection, encoder: StoredEncoder) -> Version:
    """The version of the encoder's vectors that the connection's transaction sees."""
    arguments = {"partition": partition(encoder.name).as_string(connection), "encoder_id": encoder.encoder_id}
    row = connection.execute(query("vectors_version"), arguments).fetchone()
    assert row is not None  # noqa: S101
    return Version(*row)


def cached_vectors(connection: Connection, encoder: StoredEncoder, folder: Path) -> CachedVectors:
    """The encoder's vectors as the connection's transaction sees them, copied out where no file holds them yet.

    The transaction must be repeatable read. Older contents of the same encoder are removed; a process that still reads
    them keeps them until it ends. Raises `RunError` if the folder cannot be written.
    """
    now = vectors_version(connection, encoder)
    owner = hashlib.sha256(now.database.encode()).hexdigest()[:16]
    contents = f"{encoder.name}-{owner}-{hashlib.sha256(now.version.encode()).hexdigest()[:32]}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder / f"{encoder.name}-{owner}.lock"):
            file = next((file for file in folder.glob(f"{contents}-*.vectors") if _whole(file, encoder.dim)), None)
            if file is None:
                file = _fill(connection, encoder, folder / contents)
            for other in folder.glob(f"{encoder.name}-{owner}-*"):
                if other != file:
                    other.unlink()
            return _open(file, encoder.dim)
    except OSError as error:
        raise RunError(
            f"cannot keep a copy of the vectors in {folder}: {error.strerror}; choose another --data-dir, or "
            "`--engine pgvector`, which needs none"
        ) from None


def _whole(file: Path, dim: int) -> bool:
    return file.stat().st_size == _count(file) * (8 + 4 * dim)


def _count(file: Path) -> int:
    """How many vectors are in it, as the end of its name says."""
    return int(file.stem.rpartition("-")[2])


def _fill(connection: Connection, encoder: StoredEncoder, contents: Path) -> Path:
    """Write the vectors and then the ids; the name, which ends in their number, appears when all is on disk."""
    draft = contents.with_name(f"{contents.name}.draft")
    ids = [np.empty(0, np.int64)]
    with open(draft, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        for image_ids, vectors in copy_out(connection, encoder.name, encoder.dim):
            ids.append(image_ids)
            out.write(vectors.data)
        all_ids = np.concatenate(ids)
        out.write(all_ids.data)
        out.flush()
        os.fsync(out.fileno())
    return draft.replace(contents.with_name(f"{contents.name}-{len(all_ids)}.vectors"))


def _open(file: Path, dim: int) -> CachedVectors:
    count = _count(file)
    ids = np.fromfile(file, np.int64, offset=4 * count * dim)
    order = np.argsort(ids)
    # Copy-on-write: torch wants memory that may be written, and nobody writes. Nothing at all cannot be mapped.
    vectors = np.memmap(file, np.float32, "c", shape=(count, dim)) if count else np.empty((0, dim), np.float32)
    return CachedVectors(ids[order], order, vectors)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other processes from filling the same cache; the kernel drops the lock with the process."""
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
