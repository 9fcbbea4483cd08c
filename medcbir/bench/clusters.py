"""Vectors for speed studies: clustered and long-tailed, as images' are; the same at the same place each time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medcbir.store.vectors import unit
from medcbir.types import Vectors

CHUNK = 20_000
CLASSES = 185


@dataclass(frozen=True)
class Clusters:
    """Class k of 185 is drawn with weight 1/k; a vector is its class's direction plus noise as long as that."""

    dim: int
    seed: int = 0

    @cached_property
    def centres(self) -> Vectors:
        """A direction (185, dim) of each class."""
        return unit(np.random.default_rng([self.seed, self.dim]).standard_normal((CLASSES, self.dim)))

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, Vectors]]:
        """The vectors from place `first` to before `last`, in parts (n, dim) with the place of each part's first."""
        for start in range(first - first % CHUNK, last, CHUNK):
            part = self._chunk(start)
            low, high = max(first, start), min(last, start + CHUNK)
            yield low, part[low - start : high - start]

    def _chunk(self, start: int) -> Vectors:
        rng = np.random.default_rng([self.seed, self.dim, 1 + start])
        weights: npt.NDArray[np.float64] = 1 / np.arange(1, CLASSES + 1)
        classes = rng.choice(CLASSES, CHUNK, p=weights / weights.sum())
        noise = rng.standard_normal((CHUNK, self.dim), dtype=np.float32)
        return unit(self.centres[classes] + noise * np.float32(self.dim**-0.5))
