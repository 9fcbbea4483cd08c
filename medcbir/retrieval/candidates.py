"""Pairs of a query and an index image that may still be hits, and who may not be paired."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcbir.retrieval.image_sets import Exclusions, Ids, ImageSet

BELOW_ALL, ABOVE_ALL = -4.0, 4.0
"""Scores that no product of unit vectors reaches."""

Positions = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """m pairs: positions of the query and of the index image in their sets (m,), and the score (m,) float32."""

    queries: Positions
    images: Positions
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.queries)

    @staticmethod
    def none() -> "Candidates":
        """No pairs."""
        return Candidates(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))

    @staticmethod
    def joined(parts: Sequence["Candidates"]) -> "Candidates":
        """All of them, in turn."""
        return Candidates(
            np.concatenate([part.queries for part in parts]),
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def where(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Candidates":
        """Those that a mask (m,) or positions (k,) choose."""
        return Candidates(self.queries[chosen], self.images[chosen], self.scores[chosen])

    def counts(self, query_count: int) -> Ids:
        """How many each query has (query_count,)."""
        return np.bincount(self.queries, minlength=query_count)

    def nth_best(self, n: int, query_count: int) -> npt.NDArray[np.float64]:
        """Each query's n-th best score (query_count,); `BELOW_ALL` where it has fewer."""
        keys = np.sort((self.queries.astype(np.uint64) << np.uint64(32)) | _descending(self.scores))
        counts = self.counts(query_count)
        found = np.flatnonzero(counts >= n)
        last = (np.cumsum(counts) - counts)[found] + n - 1
        nth = np.full(query_count, BELOW_ALL)
        nth[found] = _score(keys[last])
        return nth


def _descending(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Bits that order as numbers inversely to the floats (IEEE 754: of one sign, floats order like their bits)."""
    bits = scores.view(np.int32)
    return ~((bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.uint32) ^ np.uint32(0x80000000))


def _score(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """The score whose `_descending` bits are the lower half of each key."""
    bits = (~keys.astype(np.uint32) ^ np.uint32(0x80000000)).view(np.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Who may not be retrieved: the query's own picture and, where asked for, its patient's or study's, if known."""

    queries: ImageSet
    index: ImageSet
    exclusions: Exclusions

    def __call__(self, queries: npt.NDArray[np.integer], images: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Which pairs of positions are excluded; the arrays broadcast."""
        excluded: npt.NDArray[np.bool_] = self.queries.picture_ids[queries] == self.index.picture_ids[images]
        if self.exclusions.same_patient:
            patients = self.queries.patient_ids[queries]
            excluded |= (patients == self.index.patient_ids[images]) & (patients > 0)
        if self.exclusions.same_study:
            studies = self.queries.study_ids[queries]
            excluded |= (studies == self.index.study_ids[images]) & (studies > 0)
        return excluded
