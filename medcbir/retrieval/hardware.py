"""Where and in which type the blocked engine multiplies: measured once, with what the bound needs to know of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from medcbir.encoders.device import full_precision
from medcbir.retrieval.bound import ACCUMULATION, FLOAT32, UNDERFLOW, Spread, gamma

Way = TypeVar("Way")

_ROWS, _TRIALS = 1024, 5  # of the product that is measured


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where products are computed, and in which type; `rounding` is that of a stored score."""

    device: str
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """As a certificate has it: `cpu bfloat16`."""
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"

    @property
    def smallest(self) -> float:
        """What a stored score loses at most besides that: where float16 has no more bits, half its smallest step."""
        return 2.0**-25 if self.dtype == torch.float16 else 0.0

    @property
    def rounding(self) -> float:
        """Unit roundoff of a score after it was summed: none for float32, which it was summed in."""
        return 0.0 if self.dtype == torch.float32 else float(torch.finfo(self.dtype).eps) / 2

    def lowered(self, vectors: torch.Tensor) -> torch.Tensor:
        """`vectors` (n, dim) float32 as products take them."""
        return vectors.to(self.device, self.dtype)

    def spread(self, vectors: torch.Tensor, lowered: torch.Tensor) -> Spread:
        """What the bound needs to know of `vectors` (n, dim) float32 and of their `lowered` form."""
        norms = torch.linalg.vector_norm(vectors, dim=1).double()
        residual = 0.0
        if self.dtype != torch.float32:
            lost = vectors - lowered.to("cpu", torch.float32)  # exact; only its norm is rounded
            residual = float(torch.linalg.vector_norm(lost, dim=1).max()) * (1 + 2.0**-8) + 2.0**-50
        return Spread(float((norms - 1).abs().max()) + gamma(vectors.shape[1] + 4, FLOAT32), residual)


def sums_as_assumed(hardware: Hardware, dim: int, *, columns: int = 64) -> bool:
    """Whether products here keep to what the bound assumes of them: sums in float32, results rounded to nearest.

    A matrix (64, dim) with one (dim, columns), against float64. Random rows, rows with an outlier, and rows whose
    products cancel: a sum kept in the type itself, or cut off, would be far outside.
    """
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((64, dim)), rng.standard_normal((columns, dim))
    rows[16:32, 0] *= 30
    rows[32:, 1::2] = -rows[32:, : 2 * (dim // 2) : 2] * (1 + 2.0**-7)
    others[:, 1::2] = others[:, : 2 * (dim // 2) : 2]
    left, right = (
        hardware.lowered(torch.from_numpy(each / np.linalg.norm(each, axis=1, keepdims=True)).float())
        for each in (rows, others)
    )
    scores = (left @ right[0])[:, None] if columns == 1 else left @ right.T
    wide_left, wide_right, found = (each.double().cpu().numpy() for each in (left, right, scores))
    allowed = gamma(dim, ACCUMULATION) * (np.abs(wide_left) @ np.abs(wide_right).T) + hardware.rounding * np.abs(found)
    allowed += dim * UNDERFLOW + hardware.smallest
    return bool((np.abs(found - wide_left @ wide_right.T) <= allowed).all())


@cache
def fastest(dim: int) -> Hardware:
    """The type with the fastest product here, by a short measurement, on a GPU where one can be used.

    bfloat16 is slow without hardware for it, and no choice where its products are not summed as the bound assumes.
    """
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # as where other programs have all of its memory
            return _fastest("cuda", dim)
    return _fastest("cpu", dim)


def _fastest(device: str, dim: int) -> Hardware:
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(_ROWS, dim, generator=generator)
    right = torch.rand(4 * _ROWS, dim, generator=generator)
    choices = [Hardware(device, torch.float32)]
    with full_precision:
        if sums_as_assumed(Hardware(device, torch.bfloat16), dim):
            choices.append(Hardware(device, torch.bfloat16))
        operands = {hardware: (hardware.lowered(left), hardware.lowered(right).T) for hardware in choices}

        def multiply(hardware: Hardware) -> float:
            left, right = operands[hardware]
            return float((left @ right)[0, 0])  # waits for the device

        seconds = least_seconds(choices, multiply, _TRIALS)
    return min(seconds, key=seconds.__getitem__)


def least_seconds(ways: Sequence[Way], run: Callable[[Way], object], trials: int) -> dict[Way, float]:
    """The least time of each way; those that take twice the least of all are not tried for long.

    They are tried in turn, since the machine may be busy with something else for a while.
    """
    seconds = dict.fromkeys(ways, float("inf"))
    for trial in range(trials):
        for way in ways:
            if trial > 1 and seconds[way] > 2 * min(seconds.values()):
                continue
            started = time.perf_counter()
            run(way)
            seconds[way] = min(seconds[way], time.perf_counter() - started)
    return seconds


@contextmanager
def one_thread() -> Iterator[None]:
    """This thread's products are computed by one processor meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def scorers() -> Iterator[ThreadPoolExecutor]:
    """Two threads that share the processors: while one compares, which takes one processor, the other multiplies.

    Within, sums are float32's and float32 products full ones, whatever the program around has allowed.
    """
    threads = torch.get_num_threads()
    try:
        with (
            full_precision,
            ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(max(1, threads // 2),)) as pool,
        ):
            yield pool
    finally:
        torch.set_num_threads(threads)


def at_least(scores: torch.Tensor, floors: torch.Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Flat positions in `scores` (q, x), and values, of those not below their row's floor (q,), of the same type.

    On a CPU by numpy, whose comparison of int16 runs at the speed of memory; torch's of bfloat16 takes twice as long.
    """
    least = floors[:, None]
    if scores.device.type != "cpu":
        flat = (scores >= least.to(scores.device)).flatten().nonzero()[:, 0]
        return flat.cpu().numpy(), scores.flatten()[flat].float().cpu().numpy()
    if scores.dtype == torch.float32:
        kept = np.flatnonzero(scores.numpy() >= least.numpy())
        return kept, scores.numpy().reshape(-1)[kept]
    bits, least_bits = scores.view(torch.int16).numpy(), least.view(torch.int16).numpy()
    if (least_bits > 0).all():
        kept = np.flatnonzero(bits >= least_bits)
    else:  # negative floats order inversely to their bits; the floor 0 is that of -0 too
        least_bits = _ordered(least_bits)
        kept = np.flatnonzero(_ordered(bits) >= np.where(least_bits == 0, np.int16(-1), least_bits))
    return kept, (bits.reshape(-1)[kept].astype(np.int32) << 16).view(np.float32)


def _ordered(bits: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Bits of bfloat16 as integers of the same order; -0 is -1."""
    return bits ^ ((bits >> 15) & 0x7FFF)
