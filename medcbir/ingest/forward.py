"""The middle stage of encoding: one or several threads that run the model on prepared images."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from medcbir.errors import VectorError
from medcbir.ingest.writer import Encoded, Failed
from medcbir.store.claims import Claimed
from medcbir.types import Vectors


class Model(Protocol):
    """What encoding needs of an encoder: prepared pixels (n, size, size, 3) uint8 in, unit vectors (n, dim) out."""

    @property
    def lanes(self) -> int:
        """How many threads may call `encode` side by side to some profit."""

    @property
    def batch_size(self) -> int:
        """How many images a call should have."""

    def encode(self, batch: npt.NDArray[np.uint8], /) -> Vectors:
        """Vectors of a batch, float32, unit L2 norm."""

    def enter_lanes(self) -> None:
        """Called once before there are several threads that encode."""

    def enter_lane(self) -> None:
        """Called once by each of them before it encodes."""

    def leave_lanes(self) -> None:
        """Called once when they have all ended."""


@dataclass(slots=True)
class Prepared:
    """Images that are ready for the model, each with its pixels (size, size, 3), and those that could not be."""

    images: list[Claimed] = field(default_factory=list)
    frames: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class Lanes:
    """Threads that take batches, run the model on them and pass the vectors on.

    On a CPU each computes its own batch by one thread: that leaves no core idle while a layer's last part is computed
    on another one, and lets decoders have a core without stopping the others.
    """

    def __init__(self, model: Model, dim: int, pass_on: Callable[[Encoded], None]) -> None:
        self._model = model
        self._dim = dim
        self._pass_on = pass_on
        self._queue: queue.Queue[Prepared | None] = queue.Queue(maxsize=model.lanes)
        self._threads = [
            threading.Thread(target=self._serve, name="medcbir-model", daemon=True) for _ in range(model.lanes)
        ]
        self._lock = threading.Lock()
        self._stop = False
        self.error: BaseException | None = None
        self.waiting = 0.0
        self.computing = 0.0
        self.passing_on = 0.0

    def __enter__(self) -> Self:
        self._model.enter_lanes()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Wait until all that was put has been passed on, or, after an exception, only for what is being computed."""
        self._stop = kind is not None
        try:
            self._end()
        except KeyboardInterrupt:
            self._stop = True
            self._end()
            raise
        finally:
            self._model.leave_lanes()
        if kind is None and self.error is not None:
            raise self.error

    def put(self, batch: Prepared) -> None:
        """Hand over a batch; waits when the model is behind. What went wrong in computing is in `error`."""
        self._queue.put(batch)

    def _end(self) -> None:
        while any(thread.is_alive() for thread in self._threads):
            with suppress(queue.Full):
                self._queue.put(None, timeout=0.05)

    def _serve(self) -> None:
        self._model.enter_lane()
        while True:
            asked = time.perf_counter()
            batch = self._queue.get()
            got = time.perf_counter()
            if batch is None:
                return
            if self._stop or self.error is not None:
                continue
            try:
                encoded = encode_batch(self._model, batch, self._dim)
                done = time.perf_counter()
                self._pass_on(encoded)
            except BaseException as error:
                self.error = error
                continue
            with self._lock:
                self.waiting += got - asked
                self.computing += done - got
                self.passing_on += time.perf_counter() - done


def encode_batch(model: Model, batch: Prepared, dim: int) -> Encoded:
    """Vectors of a batch; an image whose vector has no direction becomes a failure instead of ending the run."""
    if not batch.frames:
        return Encoded([], np.empty((0, dim), dtype=np.float32), batch.failed)
    try:
        return Encoded(batch.images, model.encode(np.stack(batch.frames)), batch.failed)
    except VectorError:
        if len(batch.frames) == 1:
            failure = Failed(batch.images[0], "the encoder gives it a zero or non-finite vector")
            return Encoded([], np.empty((0, dim), dtype=np.float32), [*batch.failed, failure])
    single = [
        encode_batch(model, Prepared([image], [frame]), dim)
        for image, frame in zip(batch.images, batch.frames, strict=True)
    ]
    return Encoded(
        [image for each in single for image in each.images],
        np.concatenate([each.vectors for each in single]),
        batch.failed + [failure for each in single for failure in each.failed],
    )
