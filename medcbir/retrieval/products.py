"""Products of queries with the index in the types that are multiplied fast here, and how far a score can then be off.

Eight-bit integers are multiplied in half the time of bfloat16, where the processor has it, or of float32, for a wider
bound. Vectors are rotated before they are rounded to them, so that no component of any embedding stands out.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from medcbir.encoders.device import full_precision
from medcbir.retrieval.bound import ACCUMULATION, FLOAT32, Bound, Spread, gamma, score_bound
from medcbir.retrieval.hardware import Hardware, at_least, fastest, least_seconds, one_thread

Floats = npt.NDArray[np.float64]
Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Pairs that reach a floor: positions of the query and of the index image (m,), and the score (m,)."""

_MOST = 127  # of an 8-bit integer's magnitude
_MOST_SUMMED = 64  # of the second factor's, where two products are first summed in 16 bits: 2 x 255 x 64 < 2^15
_ROTATED = 64  # components at most that are rotated with each other
_QUERIES, _IMAGES, _TRIALS = 512, 4096, 8  # of the products that are measured
_GAIN = 0.75  # of the time of a float product, that integers may take to be worth their wider bound


@dataclass(frozen=True, slots=True)
class Factor:
    """Vectors as a product takes them: `values` (n, dim), which stand for `values * scales`.

    `scales` are (n,), or (1,) for all. `spread` is what the bound needs to know of the vectors, its residual (n,) or
    one for all.
    """

    values: torch.Tensor
    scales: Floats
    spread: Spread

    def __getitem__(self, rows: slice) -> "Factor":
        """Some of the vectors of a factor that has a scale for each."""
        residual = self.spread.residual
        chosen = residual[rows] if isinstance(residual, np.ndarray) else residual
        return Factor(self.values[rows], self.scales[rows], replace(self.spread, residual=chosen))


class Product(Protocol):
    """Multiplies in one type."""

    @property
    def name(self) -> str:
        """As a certificate has it: `cpu bfloat16`."""

    def queries(self, vectors: torch.Tensor) -> Factor:
        """Queries (q, dim) float32 as they are multiplied."""

    def images(self, vectors: torch.Tensor) -> Factor:
        """Images of the index (x, dim) float32 as they are multiplied."""

    def bound(self, queries: Spread, images: Spread) -> Bound:
        """How far scores can be from pgvector's similarity, one error for each query or one for all."""

    def scores(self, queries: Factor, images: Factor) -> torch.Tensor:
        """All scores (q, x), as they are stored."""

    def reach(self, queries: Factor, images: Factor, floors: Floats) -> Found:
        """Pairs whose exact sum is not below the query's floor (q,), and perhaps some more."""


@dataclass(frozen=True, slots=True)
class FloatProduct:
    """Products in bfloat16 or float32, summed in float32."""

    hardware: Hardware
    dim: int

    @property
    def name(self) -> str:
        """As a certificate has it."""
        return self.hardware.name

    def queries(self, vectors: torch.Tensor) -> Factor:
        """Rounded to the type."""
        lowered = self.hardware.lowered(vectors)
        return Factor(lowered, np.ones(len(vectors)), self.hardware.spread(vectors, lowered))

    images = queries

    def bound(self, queries: Spread, images: Spread) -> Bound:
        """Of sums in float32, by whatever unit of the processor; on a CPU those of float32 numbers are its own."""
        own = self.hardware.device == "cpu" and self.hardware.dtype == torch.float32
        step = FLOAT32 if own else ACCUMULATION
        return score_bound(self.dim, queries, images, step=step, rounding=self.hardware.rounding)

    def scores(self, queries: Factor, images: Factor) -> torch.Tensor:
        """All scores (q, x), in the product's type."""
        return queries.values @ images.values.T

    def reach(self, queries: Factor, images: Factor, floors: Floats) -> Found:
        """Rounding keeps order, so floors are rounded as scores are."""
        scores = self.scores(queries, images)
        kept, reached = at_least(scores, torch.from_numpy(floors).to(self.hardware.dtype))
        rows, columns = np.divmod(kept, scores.shape[1])
        return rows, columns, reached


@dataclass(frozen=True, slots=True)
class IntegerProduct:
    """Products of 8-bit integers, summed exactly: a query has its own scale, images have one for all.

    `most` is the largest magnitude of a query's integers.
    """

    dim: int
    most: int

    @property
    def name(self) -> str:
        """As a certificate has it."""
        return "cpu int8"

    def queries(self, vectors: torch.Tensor) -> Factor:
        """Rotated, and rounded to multiples of each one's own scale."""
        rotated = self._rotated(vectors)
        return self._factor(vectors, rotated, rotated.abs().amax(dim=1, keepdim=True) / self.most)

    def images(self, vectors: torch.Tensor) -> Factor:
        """Rotated, and rounded to multiples of one scale."""
        rotated = self._rotated(vectors)
        factor = self._factor(vectors, rotated, (torch.stack(rotated.aminmax()).abs().max() / _MOST)[None, None])
        return replace(factor, spread=factor.spread.widest)

    def bound(self, queries: Spread, images: Spread) -> Bound:
        """Sums of integers have no error; a score is stored as float32."""
        return score_bound(self.dim, queries, images, step=0.0, rounding=2.0**-23)

    def reach(self, queries: Factor, images: Factor, floors: Floats) -> Found:
        """Integers are compared with the next one below the floor."""
        units = queries.scales * images.scales
        limits = np.iinfo(np.int32)
        least = np.clip(np.floor(floors / units), limits.min, limits.max).astype(np.int32)
        sums = _sums(images.values, queries.values)
        columns, rows = np.divmod(np.flatnonzero(sums >= least), len(units))
        return rows, columns, (sums[columns, rows] * units[rows]).astype(np.float32)

    def scores(self, queries: Factor, images: Factor) -> torch.Tensor:
        """All scores (q, x), float32."""
        units = queries.scales * images.scales
        return torch.from_numpy((_sums(images.values, queries.values) * units).T.astype(np.float32))

    def _rotated(self, vectors: torch.Tensor) -> torch.Tensor:
        rotation = _rotation(self.dim)
        return (vectors.reshape(-1, len(rotation)) @ rotation).view(vectors.shape)

    def _factor(self, vectors: torch.Tensor, rotated: torch.Tensor, scales: torch.Tensor) -> Factor:
        values = (rotated / scales).round_()
        lost = torch.linalg.vector_norm(torch.addcmul(rotated, values, scales, value=-1.0), dim=1).double().numpy()
        group = len(_rotation(self.dim))
        norm = float((torch.linalg.vector_norm(vectors, dim=1).double() - 1).abs().max())
        norm += gamma(self.dim + 4, FLOAT32)
        turned = group**0.5 * gamma(group, FLOAT32) * (1 + norm)
        residual = lost * (1 + 2.0**-8) + turned + 2.0**-22
        return Factor(values.to(torch.int8), scales[:, 0].double().numpy(), Spread(norm, residual))


def _sums(images: torch.Tensor, queries: torch.Tensor) -> npt.NDArray[np.int32]:
    """Sums of int8 products (x, q), in this order for the sake of `_MOST_SUMMED`."""
    sums: npt.NDArray[np.int32] = torch._int_mm(images, queries.T).numpy()
    return sums


@cache
def _rotation(dim: int) -> torch.Tensor:
    """An orthogonal matrix (k, k) that mixes groups of k components: random signs, then a Hadamard matrix.

    k is the largest power of 4 that divides `dim`, up to 64: all entries are then powers of two, and exact.
    """
    size = 1
    hadamard = np.ones((1, 1))
    while size * 4 <= _ROTATED and dim % (size * 4) == 0:
        for _ in range(2):
            hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
        size *= 4
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (size, 1))
    return torch.from_numpy(signs * hadamard / np.sqrt(size)).float()


def sums_exactly(product: IntegerProduct) -> bool:
    """Whether integers are summed without loss here: with the largest of one sign, of both, and any.

    Without instructions for them, some libraries sum two products in 16 bits first, which can be too few.
    """
    rng = np.random.default_rng(0)
    queries = rng.integers(-product.most, product.most + 1, (_QUERIES, product.dim))
    images = rng.integers(-_MOST, _MOST + 1, (_QUERIES, product.dim))
    for values, most in ((queries, product.most), (images, _MOST)):
        values[:64] = rng.choice([-most, most], (64, product.dim))
        values[0], values[1] = most, -most
    sums = _sums(*(torch.from_numpy(values).to(torch.int8) for values in (images, queries)))
    return np.array_equal(sums, images.astype(np.float64) @ queries.astype(np.float64).T)


@cache
def products(dim: int) -> tuple[Product, ...]:
    """From the fastest and coarsest to float32, by a short measurement, on a GPU where one can be used."""
    hardware = fastest(dim)
    floats = [FloatProduct(hardware, dim)]
    if hardware.dtype != torch.float32:
        floats.append(FloatProduct(replace(hardware, dtype=torch.float32), dim))
    if hardware.device != "cpu":
        return tuple(floats)
    for most in (_MOST, _MOST_SUMMED):
        integers = IntegerProduct(dim, most)
        with suppress(AttributeError, RuntimeError):  # torch without such a product
            if sums_exactly(integers):
                return (integers, *floats) if _worth(integers, floats[0]) else tuple(floats)
    return tuple(floats)


def _worth(integers: IntegerProduct, floats: FloatProduct) -> bool:
    generator = torch.Generator().manual_seed(0)
    queries, images = (torch.randn(rows, integers.dim, generator=generator) for rows in (_QUERIES, _IMAGES))
    nothing = np.full(_QUERIES, np.inf)
    ways: tuple[Product, ...] = (integers, floats)
    factors = {product: (product.queries(queries), product.images(images)) for product in ways}
    with full_precision, one_thread():  # as each of several scorers has it
        seconds = least_seconds(ways, lambda product: product.reach(*factors[product], nothing), _TRIALS)
    return seconds[integers] < _GAIN * seconds[floats]
