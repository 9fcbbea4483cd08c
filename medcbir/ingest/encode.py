"""Rows to vectors: claim images that lack one, decode ahead in workers, run the model, write by binary COPY.

Four stages run side by side: the claims and the decoding run ahead of the model by a bounded number of images, the
writer behind it by a bounded number of batches, so memory does not grow with the work. No transaction is open while the
model runs.
"""

import time
from collections.abc import Callable, Iterator
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medcbir.encoders.spec import Pixels
from medcbir.ingest.forward import Lanes, Model, Prepared
from medcbir.ingest.pool import Failure, WorkerPool
from medcbir.ingest.writer import Failed, Writer
from medcbir.store.claims import Claimed, Claims
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.types import EncodeReport, Progress, Silent

_BATCHES_PER_CLAIM = 4  # of each lane: few enough that processes share a small rest, and that a killed one holds little
_FILES_TOGETHER = 4  # are handed over to a worker and back, which costs a tenth of what a small file does
_FRAMES_PER_TASK = 8  # of one file, so that look-ahead stays bounded in memory


def fill(
    open_connection: Callable[[], Connection],
    encoder: StoredEncoder,
    load_model: Callable[[], Model],
    pixels: Pixels,
    *,
    dataset: str | None = None,
    batch_size: int | None = None,
    max_pixels: int,
    progress: Progress | None = None,
) -> EncodeReport:
    """Give every image that has a file its vector of `encoder`; any number of processes may do so at once.

    An image that cannot be read goes to `rejected` with its reason and is tried again by the next call. Ctrl-C ends
    it cleanly and is told in the report. The model is loaded only if there is work for it; `batch_size` is its own
    choice where none is given.
    """
    progress = progress or Silent()
    started = time.perf_counter()
    interrupted = False
    with open_connection() as claiming:
        claiming.execute(query("forget_failures"), {"encoder_id": encoder.encoder_id, "dataset": dataset})
        missing = _missing(claiming, encoder, dataset)
        progress.begin(f"encode {encoder.name}", "images", missing)
        if not missing:
            return EncodeReport(encoder.name, 0, 0, 0, time.perf_counter() - started)
        with (
            open_connection() as writing,
            WorkerPool("prepare") as pool,
            Writer(writing, encoder, progress) as writer,
        ):
            pool.start()  # they get ready while the model is loaded
            model = load_model()
            size = batch_size or model.batch_size
            pool.ahead, pool.together = 2 * size * model.lanes + 16, min(size, _FILES_TOGETHER)
            claims = Claims(claiming, encoder.encoder_id, dataset, _BATCHES_PER_CLAIM * size * model.lanes)
            lanes = Lanes(model, encoder.dim, writer.put)
            batches = _batches(_prepared(claims, pool, pixels, max_pixels), size)
            running = time.perf_counter()
            try:
                first = next(batches, Prepared())
                running = time.perf_counter()
                with lanes:
                    for batch in chain([first], batches):
                        if lanes.error is not None or writer.error is not None:
                            break
                        lanes.put(batch)
                        so_far = model.lanes * (time.perf_counter() - running)
                        progress.note(f"waiting for input {lanes.waiting / so_far:.0%}")
            except KeyboardInterrupt:
                interrupted = True
        claims.release()
        remaining = _missing(claiming, encoder, dataset)
    seconds = time.perf_counter() - started
    whole = seconds * model.lanes
    return EncodeReport(
        encoder.name,
        writer.written,
        writer.failed,
        remaining,
        seconds,
        starting=(running - started) / seconds,
        forward=lanes.computing / whole,
        waiting=lanes.waiting / whole,
        writing=lanes.passing_on / whole,
        interrupted=interrupted,
    )


def _missing(connection: Connection, encoder: StoredEncoder, dataset: str | None) -> int:
    row = connection.execute(query("count_missing"), {"encoder_id": encoder.encoder_id, "dataset": dataset}).fetchone()
    return int(row[0]) if row else 0


def _prepared(
    claims: Claims, pool: WorkerPool, pixels: Pixels, max_pixels: int
) -> Iterator[tuple[Claimed, npt.NDArray[np.uint8] | str]]:
    """Each claimed image with its prepared pixels or the reason why there are none; a file is opened once a claim."""
    open_files: dict[int, list[Claimed]] = {}

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


def _batches(prepared: Iterator[tuple[Claimed, npt.NDArray[np.uint8] | str]], size: int) -> Iterator[Prepared]:
    batch = Prepared()
    for image, pixels in prepared:
        if isinstance(pixels, str):
            batch.failed.append(Failed(image, pixels))
        else:
            batch.images.append(image)
            batch.frames.append(pixels)
        if len(batch.frames) == size or len(batch.failed) == _BATCHES_PER_CLAIM * size:
            yield batch
            batch = Prepared()
    if batch.images or batch.failed:
        yield batch
