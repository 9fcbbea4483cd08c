"""What vouches for a run's hits: how they were found, within which bound, and what was checked again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of one block of queries, or of several: `a | b` is that of both.

    `score_bound` and `float32_bound` are the widest E of docs/decisions/0005-blocked-engine.md that were used for the
    product's scores and for those in float32, `score_rounding` the unit roundoff of a stored score; all 0 for pgvector.
    `pairs` counts the distances that pgvector computed, `most_pairs` those of one query. `statements` are queries that
    a statement of their own answered, `outside` distances outside of the bound, `sample` queries that pgvector answered
    again and `differences` those that it answered otherwise. `margin` is the smallest difference of distance between
    ranks N and N + 1 of any query, None where none has so many; `ties` counts queries where it is 0.
    """

    engine: str
    hardware: tuple[str, ...] = ()
    score_bound: float = 0.0
    score_rounding: float = 0.0
    float32_bound: float = 0.0
    queries: int = 0
    pairs: int = 0
    most_pairs: int = 0
    statements: int = 0
    outside: int = 0
    sample: int = 0
    differences: int = 0
    margin: float | None = None
    ties: int = 0

    def __or__(self, other: "Certificate") -> "Certificate":
        return Certificate(
            engine=self.engine,
            hardware=tuple(sorted({*self.hardware, *other.hardware})),
            score_bound=max(self.score_bound, other.score_bound),
            score_rounding=max(self.score_rounding, other.score_rounding),
            float32_bound=max(self.float32_bound, other.float32_bound),
            queries=self.queries + other.queries,
            pairs=self.pairs + other.pairs,
            most_pairs=max(self.most_pairs, other.most_pairs),
            statements=self.statements + other.statements,
            outside=self.outside + other.outside,
            sample=self.sample + other.sample,
            differences=self.differences + other.differences,
            margin=min((each for each in (self.margin, other.margin) if each is not None), default=None),
            ties=self.ties + other.ties,
        )

    def with_margins(self, distances: Sequence[npt.NDArray[np.float64]], n: int) -> "Certificate":
        """With the margin and the ties at rank `n` of queries whose `distances` (k,) are nearest first."""
        gaps = [float(each[n] - each[n - 1]) for each in distances if len(each) > n]
        return replace(self, margin=min(gaps, default=None), ties=sum(gap == 0 for gap in gaps))

    @property
    def contradiction(self) -> str | None:
        """How the answer contradicts pgvector, None where nothing does."""
        if not self.differences and not self.outside:
            return None
        return (
            f"the {self.engine} engine on {' and '.join(self.hardware)} contradicts pgvector in {self.differences} of "
            f"{self.sample} sampled queries and {self.outside} distances"
        )

    def stated(self) -> dict[str, Any]:
        """As a run keeps it."""
        return {
            "engine": self.engine,
            "hardware": " and ".join(self.hardware),
            "bound": {
                "score": self.score_bound,
                "score_rounding": self.score_rounding,
                "float32_score": self.float32_bound,
            },
            "candidates": {"mean": self.pairs / max(1, self.queries), "max": self.most_pairs},
            "answered_by_statement": self.statements,
            "smallest_margin": self.margin,
            "ties": self.ties,
            "outside_bound": self.outside,
            "sample": self.sample,
            "differences": self.differences,
        }
