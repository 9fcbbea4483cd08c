"""Finds the pairs of a query and an index image that may be hits, by matrix products and a proven bound.

Each block of the index is scored against all queries of a batch in low precision where that is fast. A pair stays while
its score may still belong to the query's N nearest under the bound (docs/decisions/0005-blocked-engine.md), then while
its float32 score may. Queries near which too many images lie too close together for a bound to part them (thousands of
copies) are told apart.
"""

from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np
import numpy.typing as npt
import torch

from medcbir.retrieval.bound import ACCUMULATION, FLOAT32, Bound, Spread, score_bound
from medcbir.retrieval.candidates import ABOVE_ALL, BELOW_ALL, Candidates, Exclusion
from medcbir.retrieval.hardware import Hardware, at_least
from medcbir.retrieval.image_sets import Ids

_QUERY_BLOCK, _INDEX_BLOCK, _FIRST_BLOCK = 1024, 4096, 2048
_PENDING = 1 << 21  # pairs kept before thresholds are tightened
_CROWDED = 4096  # pairs (or 8 N) from which a query is cheaper, and safer for memory, by its own statement
_PRODUCTS = 1 << 22  # float32 products at a time, when pairs are scored again


@dataclass(frozen=True, slots=True)
class Sifted:
    """What is left of a batch: pairs that may be hits, queries with too many to tell, the bounds that were used.

    `bound` is that of the product's scores, which were `scored` (m,), `exact` that of the float32 scores that the
    pairs have now.
    """

    pairs: Candidates
    scored: npt.NDArray[np.float32]
    crowded: Ids
    bound: Bound
    exact: Bound


@dataclass(frozen=True, slots=True)
class Sieve:
    """Finds the pairs that may be hits: rows of `vectors` (m, dim) float32 for queries (q,) and index images (x,).

    Once `stopped` is set, threads that sift give up with `CancelledError`.
    """

    vectors: torch.Tensor
    query_rows: Ids
    index_rows: Ids
    excluded: Exclusion
    n: int
    hardware: Hardware
    stopped: Event = field(default_factory=Event)
    spreads: dict[int, Spread] = field(default_factory=dict)
    """Of the blocks of the index, which are the same for every batch, once they were measured."""

    def sift(self, batch: range) -> Sifted:
        """The pairs of a batch of queries that may be hits."""
        start, stop = batch.start, batch.stop
        queries = self.vectors[torch.from_numpy(self.query_rows[start:stop])]
        lowered = self.hardware.lowered(queries)
        query_spread, index_spread = self.hardware.spread(queries, lowered), Spread()
        nth = np.full(stop - start, BELOW_ALL)
        kept: list[Candidates] = []
        pending = 0
        blocks = _blocks(len(self.index_rows), max(_FIRST_BLOCK, 4 * self.n))
        for number, images in enumerate(blocks):
            if self.stopped.is_set():
                raise CancelledError
            block = self.vectors[torch.from_numpy(self.index_rows[images])]
            lowered_block = self.hardware.lowered(block)
            if number not in self.spreads:
                self.spreads[number] = self.hardware.spread(block, lowered_block)
            index_spread |= self.spreads[number]
            bound = self._bound(query_spread, index_spread)
            for first in range(0, stop - start, _QUERY_BLOCK):
                rows = np.arange(first, min(first + _QUERY_BLOCK, stop - start))
                scores = lowered[first : first + _QUERY_BLOCK] @ lowered_block.T
                if number == 0 and self.n <= len(images):
                    nth[rows] = self._nth_of_sample(scores, start + rows, images)
                found = self._kept(scores, self._floors(bound, nth[rows]), start + rows, images)
                kept.append(replace(found, queries=found.queries - np.int32(start)))
                pending += len(found)
                if pending > _PENDING:
                    kept, pending = [self._tightened(kept, bound, nth)], 0
            if number & (number - 1) == 0 or number == len(blocks) - 1:  # ever rarer: each time the index seen doubles
                kept, pending = [self._tightened(kept, bound, nth)], 0
        exact = score_bound(
            self.vectors.shape[1],
            replace(query_spread, residual=0.0),
            replace(index_spread, residual=0.0),
            step=FLOAT32,
            rounding=0.0,
        )
        pairs = self._rescored(replace(kept[0], queries=kept[0].queries + np.int32(start)))
        floors = exact.floor(pairs.nth_best(self.n, stop))
        crowded = start + np.flatnonzero(nth == ABOVE_ALL)
        left = np.flatnonzero(pairs.scores >= floors[pairs.queries])
        left = left[np.argsort(pairs.queries[left], kind="stable")]
        return Sifted(pairs.where(left), kept[0].scores[left], crowded, bound, exact)

    def _bound(self, queries: Spread, index: Spread) -> Bound:
        return score_bound(self.vectors.shape[1], queries, index, step=ACCUMULATION, rounding=self.hardware.rounding)

    def _nth_of_sample(self, scores: torch.Tensor, queries: Ids, images: Ids) -> npt.NDArray[np.float64]:
        """The n-th best score of each query among the first block, which is a random sample of the index."""
        excluded = torch.from_numpy(self.excluded(queries[:, None], images)).to(scores.device)
        allowed = scores.float().masked_fill(excluded, BELOW_ALL)
        best: npt.NDArray[np.float64] = allowed.topk(self.n, dim=1).values[:, -1].double().cpu().numpy()
        return best

    def _floors(self, bound: Bound, nth: npt.NDArray[np.float64]) -> torch.Tensor:
        """The least scores that stay, in the type of scores: rounding keeps order, so both sides must be rounded."""
        return torch.from_numpy(bound.floor(nth)).to(self.hardware.dtype)

    def _kept(self, scores: torch.Tensor, floors: torch.Tensor, queries: Ids, images: Ids) -> Candidates:
        flat, values = at_least(scores, floors)
        rows, columns = np.divmod(flat, len(images))
        found = Candidates(queries[rows].astype(np.int32), images[columns].astype(np.int32), values)
        return found.where(~self.excluded(found.queries, found.images))

    def _tightened(self, parts: list[Candidates], bound: Bound, nth: npt.NDArray[np.float64]) -> Candidates:
        """Those that may still be hits by what is known now; raises `nth`, to `ABOVE_ALL` for crowded queries."""
        found = Candidates.joined(parts)
        np.maximum(nth, found.nth_best(self.n, len(nth)), out=nth)
        found = found.where(found.scores >= self._floors(bound, nth).float().numpy()[found.queries])
        crowded = found.counts(len(nth)) > max(_CROWDED, 8 * self.n)
        nth[crowded] = ABOVE_ALL
        return found.where(~crowded[found.queries])

    def _rescored(self, found: Candidates) -> Candidates:
        """The same pairs with their float32 scores."""
        scores = np.empty(len(found), np.float32)
        step = max(1, _PRODUCTS // self.vectors.shape[1])
        for first in range(0, len(found), step):
            part = slice(first, first + step)
            queries = self.vectors[torch.from_numpy(self.query_rows[found.queries[part]])]
            images = self.vectors[torch.from_numpy(self.index_rows[found.images[part]])]
            scores[part] = queries.mul_(images).sum(dim=1).numpy()
        return replace(found, scores=scores)


def _blocks(size: int, first: int) -> list[Ids]:
    """Positions 0 to `size` in blocks, each a random sample, so that the first can stand for all."""
    positions = np.random.default_rng(0).permutation(size)
    cuts = range(min(first, size), size, _INDEX_BLOCK)
    return [np.sort(block) for block in np.split(positions, list(cuts)) if len(block)]
