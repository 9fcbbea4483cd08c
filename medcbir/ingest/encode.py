"""Rows to vectors: claim images that lack one, decode ahead in workers, run the model, write by binary COPY.

Four stages run side by side: the claims and the decoding run ahead of the model by a bounded number of images, the
writer behind it by a bounded number of batches. No transaction is open while the model runs.
"""

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import psycopg

from medcbir.encoders.spec import Pixels
from medcbir.errors import VectorError
from medcbir.ingest.pool import Failure, WorkerPool
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import copy_in
from medcbir.types import EncodeReport, Progress, Silent, Vectors

_LOCK_CLASS = 0x6D656463
_BATCHES_PER_CLAIM = 4  # few enough that processes share a small rest, and that a killed one holds little
_FRAMES_PER_TASK = 8  # of one file, so that look-ahead stays bounded in memory


class Model(Protocol):
    """What the pipeline needs of an encoder: prepared pixels (n, size, size, 3) uint8 in, unit vectors (n, dim) out."""

    def encode(self, batch: npt.NDArray[np.uint8], /) -> Vectors:
        """Vectors of a batch, float32, unit L2 norm."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    image_id: int
    dataset: str
    uri: str
    frame: int
    path: str
    pixel_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class _Failed:
    image: _Claimed
    reason: str


class _Claims:
    """This process's claims on images: taken in batches, released by writing, void when the process is gone."""

    def __init__(self, connection: Connection, encoder_id: int, dataset: str | None, size: int) -> None:
        self._connection = connection
        self._encoder_id = encoder_id
        self._dataset = dataset
        self._size = size
        self.worker = secrets.randbelow(2**31)
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (_LOCK_CLASS, self.worker))

    def take(self) -> Iterator[list[_Claimed]]:
        """Batches of claimed images until none is left that a living worker does not have."""
        after, found_since_start = -1, False
        self._release_dead()
        while True:
            rows = self._connection.execute(
                query("claim_images"),
                {
                    "after": after,
                    "dataset": self._dataset,
                    "encoder_id": self._encoder_id,
                    "worker": self.worker,
                    "size": self._size,
                },
            ).fetchall()
            if rows:
                yield [_Claimed(*row) for row in rows]
                after, found_since_start = rows[-1][0], True
            elif found_since_start:  # look once more from the start, for what others have left behind since
                self._release_dead()
                after, found_since_start = -1, False
            else:
                return

    def _release_dead(self) -> None:
        self._connection.execute(
            query("release_dead_claims"), {"encoder_id": self._encoder_id, "lock_class": _LOCK_CLASS}
        )


class _Writer:
    """A thread that writes finished batches and releases their claims, one transaction each."""

    def __init__(self, connection: Connection, encoder: StoredEncoder) -> None:
        self._connection = connection
        self._encoder = encoder
        self._queue: queue.Queue[tuple[list[_Claimed], Vectors, list[_Failed]] | None] = queue.Queue(maxsize=4)
        self._error: BaseException | None = None
        self.written = 0
        self.failed = 0
        self._thread = threading.Thread(target=self._serve, name="medcbir-writer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, images: list[_Claimed], vectors: Vectors, failed: list[_Failed]) -> None:
        """Hand over a batch; waits when the database is behind, raises what the writer has met."""
        self._raise()
        self._queue.put((images, vectors, failed))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _serve(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(*batch)
                except BaseException as error:
                    self._error = error

    def _write(self, images: list[_Claimed], vectors: Vectors, failed: list[_Failed]) -> None:
        try:
            self._write_once(images, vectors, failed, query("lock_unchanged"))
        except psycopg.errors.UniqueViolation:  # another process has encoded one of them while the model ran
            self._write_once(images, vectors, failed, query("lock_unchanged_missing"))

    def _write_once(self, images: list[_Claimed], vectors: Vectors, failed: list[_Failed], wanted: str) -> None:
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
            done = [image.image_id for image in images] + [failure.image.image_id for failure in failed]
            connection.execute(
                "DELETE FROM encode_claim WHERE encoder_id = %s AND image_id = ANY(%s)", (encoder_id, done)
            )
        self.written += int(written.sum())
        self.failed += len(failed)


def fill(
    open_connection: Callable[[], Connection],
    encoder: StoredEncoder,
    load_model: Callable[[], Model],
    pixels: Pixels,
    *,
    dataset: str | None = None,
    batch_size: int = 32,
    max_pixels: int,
    progress: Progress | None = None,
) -> EncodeReport:
    """Give every image that has a file its vector of `encoder`; any number of processes may do so at once.

    An image that cannot be read goes to `rejected` with its reason and is tried again by the next call. Ctrl-C ends
    it cleanly and is told in the report. The model is loaded only if there is work for it.
    """
    progress = progress or Silent()
    started = time.perf_counter()
    waiting = 0.0
    interrupted = False
    with open_connection() as claiming:
        claiming.execute(query("forget_failures"), {"encoder_id": encoder.encoder_id, "dataset": dataset})
        missing = _missing(claiming, encoder, dataset)
        progress.begin(f"encode {encoder.name}", "images", missing)
        if not missing:
            return EncodeReport(encoder.name, 0, 0, 0, time.perf_counter() - started, waiting)
        claims = _Claims(claiming, encoder.encoder_id, dataset, _BATCHES_PER_CLAIM * batch_size)
        with (
            open_connection() as writing,
            WorkerPool("prepare", ahead=2 * batch_size + 16) as pool,
            _Writer(writing, encoder) as writer,
        ):
            pool.start()  # they get ready while the model is loaded
            model = load_model()
            batches = _batches(_prepared(claims, pool, pixels, max_pixels), batch_size)
            try:
                while True:
                    asked = time.perf_counter()
                    batch = next(batches, None)
                    waiting += time.perf_counter() - asked
                    if batch is None:
                        break
                    images, frames, failed = batch
                    vectors = _forward(model, images, frames, failed, encoder.dim)
                    writer.put(images, vectors, failed)
                    progress.advance(len(images) + len(failed))
                    progress.note(f"waiting for input {waiting / (time.perf_counter() - started):.0%}")
            except KeyboardInterrupt:
                interrupted = True
        claiming.execute(
            "DELETE FROM encode_claim WHERE encoder_id = %s AND worker = %s", (encoder.encoder_id, claims.worker)
        )
        remaining = _missing(claiming, encoder, dataset)
    seconds = time.perf_counter() - started
    return EncodeReport(encoder.name, writer.written, writer.failed, remaining, seconds, waiting / seconds, interrupted)


def _missing(connection: Connection, encoder: StoredEncoder, dataset: str | None) -> int:
    row = connection.execute(query("count_missing"), {"encoder_id": encoder.encoder_id, "dataset": dataset}).fetchone()
    return int(row[0]) if row else 0


def _prepared(
    claims: _Claims, pool: WorkerPool, pixels: Pixels, max_pixels: int
) -> Iterator[tuple[_Claimed, npt.NDArray[np.uint8] | str]]:
    """Each claimed image with its prepared pixels or the reason why there are none; a file is opened once a claim."""
    open_files: dict[int, list[_Claimed]] = {}

    def tasks() -> Iterator[tuple[Path, list[int], list[bytes | None], Pixels, int]]:
        number = 0
        for claimed in claims.take():
            for path, group in groupby(claimed, key=lambda image: image.path):
                frames = list(group)
                for start in range(0, len(frames), _FRAMES_PER_TASK):
                    part = open_files[number] = frames[start : start + _FRAMES_PER_TASK]
                    number += 1
                    yield (
                        Path(path),
                        [image.frame for image in part],
                        [image.pixel_sha256 for image in part],
                        pixels,
                        max_pixels,
                    )

    for number, (_, answer) in enumerate(pool.map(tasks())):
        images = open_files.pop(number)
        yield from zip(images, [answer.reason] * len(images) if isinstance(answer, Failure) else answer, strict=True)


def _batches(
    prepared: Iterator[tuple[_Claimed, npt.NDArray[np.uint8] | str]], size: int
) -> Iterator[tuple[list[_Claimed], list[npt.NDArray[np.uint8]], list[_Failed]]]:
    images: list[_Claimed] = []
    frames: list[npt.NDArray[np.uint8]] = []
    failed: list[_Failed] = []
    for image, pixels in prepared:
        if isinstance(pixels, str):
            failed.append(_Failed(image, pixels))
        else:
            images.append(image)
            frames.append(pixels)
        if len(frames) == size or len(failed) == _BATCHES_PER_CLAIM * size:
            yield images, frames, failed
            images, frames, failed = [], [], []
    if images or failed:
        yield images, frames, failed


def _forward(
    model: Model, images: list[_Claimed], frames: list[npt.NDArray[np.uint8]], failed: list[_Failed], dim: int
) -> Vectors:
    """Vectors of a batch; an image whose vector has no direction moves to `failed` instead of ending the run."""
    if not frames:
        return np.empty((0, dim), dtype=np.float32)
    try:
        return model.encode(np.stack(frames))
    except VectorError:
        if len(frames) == 1:
            failed.append(_Failed(images.pop(), "the encoder gives it a zero or non-finite vector"))
            return np.empty((0, dim), dtype=np.float32)
    single: list[Vectors] = []
    kept: list[_Claimed] = []
    for image, pixels in zip(images, frames, strict=True):
        alone = [image]
        single.append(_forward(model, alone, [pixels], failed, dim))
        kept += alone
    images[:] = kept
    return np.concatenate(single)
