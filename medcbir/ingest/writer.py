"""The last stage of encoding: vectors and failures into the database, behind the model and beside it."""

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import psycopg

from medcbir.store.claims import Claimed
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import copy_in
from medcbir.types import Progress, Vectors

_IMAGES_PER_WRITE = 32
_SECONDS_BETWEEN_WRITES = 1.0
"""Batches are written together until they hold so many images, but none waits for longer."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that has no vector, and why, in words that name no patient."""

    image: Claimed
    reason: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of a batch: its images with their vectors (n, dim), row by row, and those that failed."""

    images: list[Claimed]
    vectors: Vectors
    failed: list[Failed] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Images of either kind."""
        return len(self.images) + len(self.failed)


class Writer:
    """A thread that writes batches and releases their claims, one transaction for several batches."""

    def __init__(self, connection: Connection, encoder: StoredEncoder, progress: Progress) -> None:
        self._connection = connection
        self._encoder = encoder
        self._progress = progress
        self._queue: queue.Queue[Encoded | None] = queue.Queue(maxsize=8)
        self.error: BaseException | None = None
        self.written = 0
        self.failed = 0
        self._thread = threading.Thread(target=self._serve, name="medcbir-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if kind is None and self.error is not None:
            raise self.error

    def put(self, batch: Encoded) -> None:
        """Hand over a batch; waits when the database is behind. What went wrong in writing is in `error`."""
        self._queue.put(batch)

    def _serve(self) -> None:
        waiting: list[Encoded] = []
        last = False
        due = 0.0
        while not last:
            try:
                batch = self._queue.get(timeout=max(0.0, due - time.monotonic()) if waiting else None)
            except queue.Empty:
                pass
            else:
                last = batch is None
                if batch is not None and not waiting:
                    due = time.monotonic() + _SECONDS_BETWEEN_WRITES
                waiting += [] if batch is None else [batch]
            if last or sum(each.count for each in waiting) >= _IMAGES_PER_WRITE or time.monotonic() >= due:
                if waiting and self.error is None:
                    self._try_to_write(waiting)
                waiting = []

    def _try_to_write(self, batches: list[Encoded]) -> None:
        try:
            self._write(batches)
        except BaseException as error:
            self.error = error

    def _write(self, batches: list[Encoded]) -> None:
        images = [image for batch in batches for image in batch.images]
        vectors = np.concatenate([batch.vectors for batch in batches])
        failed = [failure for batch in batches for failure in batch.failed]
        try:
            written = self._write_once(images, vectors, failed, query("lock_unchanged"))
        except psycopg.errors.UniqueViolation:  # another process has encoded one of them while the model ran
            written = self._write_once(images, vectors, failed, query("lock_unchanged_missing"))
        self.written += written
        self.failed += len(failed)
        self._progress.advance(len(images) + len(failed))

    def _write_once(self, images: list[Claimed], vectors: Vectors, failed: list[Failed], wanted: str) -> int:
        """Write what `wanted` still wants; returns how many vectors that were."""
        connection, encoder_id = self._connection, self._encoder.encoder_id
        ids = np.array([image.image_id for image in images], dtype=np.int64)
        digests = [image.pixel_sha256 for image in images]
        with connection.transaction():
            rows = connection.execute(
                wanted, {"image_ids": ids.tolist(), "digests": digests, "encoder_id": encoder_id}
            ).fetchall()
            written = np.isin(ids, [row[0] for row in rows])  # not those removed or changed while the model ran
            if written.any():
                copy_in(connection, self._encoder.name, ids[written], vectors[written])
            for failure in failed:
                connection.execute(
                    query("reject"),
                    {
                        "stage": "encode",
                        "encoder_id": encoder_id,
                        "dataset": failure.image.dataset,
                        "uri": failure.image.uri,
                        "frame": failure.image.frame,
                        "kind": "unreadable",
                        "reason": failure.reason,
                    },
                )
            done = ids.tolist() + [failure.image.image_id for failure in failed]
            connection.execute(query("release_encoded"), {"encoder_id": encoder_id, "image_ids": done})
        return int(written.sum())
