"""How far a computed score can be from pgvector's similarity; proved in docs/decisions/0005-blocked-engine.md.

Everything here is arithmetic on numbers that were measured; it knows neither torch nor a database.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FLOAT32 = 2.0**-24
"""Unit roundoff of float32."""

ACCUMULATION = 2.0**-22
"""Relative error granted to each step of a hardware product: four times float32's, so truncation is covered too."""

UNDERFLOW = 2.0**-120
"""Granted to each term of a sum whose products may be flushed to zero."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What was measured of a set of vectors x, each number the largest over the set.

    `norm` is | |x| - 1 |; `residual` is the L2 norm of what x lost when it was rounded for the product, or that of each
    vector (n,).
    """

    norm: float = 0.0
    residual: float | npt.NDArray[np.float64] = 0.0

    @property
    def widest(self) -> "Spread":
        """With one residual for all."""
        return Spread(self.norm, float(np.max(self.residual)))

    def __or__(self, other: "Spread") -> "Spread":
        """The same of both sets together, with one residual for all."""
        residual = max(self.widest.residual, other.widest.residual)
        return Spread(max(self.norm, other.norm), residual)


@dataclass(frozen=True, slots=True)
class Bound:
    """|score - similarity| <= `error` before the score was rounded to its own type, whose unit roundoff is `rounding`.

    Similarity is one minus pgvector's cosine distance. `error` is one for all pairs, or one for each query (q,).
    """

    error: float | npt.NDArray[np.float64]
    rounding: float

    def floor(self, nth_best: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The score below which an image cannot be among the top N, given the score of the N-th best so far.

        An image must be kept if its score is not below the floor rounded to the score's type.
        """
        return nth_best - self.rounding * np.abs(nth_best) - 2 * self.error

    def excludes(self, scores: npt.NDArray[np.float32], similarities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which pairs (m,) have a score and a similarity that the bound holds to be impossible."""
        return np.abs(scores - similarities) > self.error + self.rounding * np.abs(scores.astype(np.float64))


def gamma(terms: int, unit: float) -> float:
    """Relative error of a sum of `terms` products in any order: n u / (1 - n u) (Higham 2002, section 3.1)."""
    return terms * unit / (1 - terms * unit)


def pgvector_error(dim: int) -> float:
    """Largest difference of pgvector's similarity from the exact cosine (lemma 1)."""
    relative = gamma(dim, FLOAT32)
    return 2 * relative / (1 - relative) + 2.0**-50 + dim * UNDERFLOW


def score_bound(
    dim: int, queries: Spread, index: Spread, *, step: float, rounding: float, smallest: float = 0.0
) -> Bound:
    """The bound of scores of `queries` with `index` whose products were summed with error `step` each (lemma 2).

    `smallest` is what a stored score may lose besides its relative `rounding`.
    """
    q_norm, x_norm = 1 + queries.norm, 1 + index.norm
    q_rounded, x_rounded = q_norm + queries.residual, x_norm + index.residual
    summed = gamma(dim, step) * q_rounded * x_rounded + dim * UNDERFLOW
    rounded = queries.residual * x_norm + q_rounded * index.residual
    scaled = q_norm * x_norm - 1
    return Bound((summed + rounded + scaled + smallest + pgvector_error(dim)) * (1 + 2.0**-20), rounding)
