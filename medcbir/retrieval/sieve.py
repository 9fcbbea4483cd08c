"""Finds the pairs of a query and an index image that may be hits, by matrix products and a proven bound.

Each block of the index is scored against all queries of a batch in low precision where that is fast. A pair is scored
again in float32 if it may belong to the query's N nearest under the bound (docs/decisions/0005-blocked-engine.md), and
stays while its float32 score may. Queries near which too many images lie too close together for a bound to part them
(thousands of copies) are told apart.
"""

import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from threading import Event, Lock

import numpy as np
import numpy.typing as npt
import torch

from medcbir.retrieval.bound import FLOAT32, Bound, Spread, score_bound
from medcbir.retrieval.candidates import ABOVE_ALL, BELOW_ALL, Candidates, Exclusion
from medcbir.retrieval.hardware import at_least
from medcbir.retrieval.image_sets import Ids
from medcbir.retrieval.products import Factor, Product

_QUERY_BLOCK, _INDEX_BLOCK, _FIRST_BLOCK = 512, 4096, 2048
_PENDING = 1 << 21  # pairs kept before thresholds are tightened
_CROWDED = 4096  # pairs (or 8 N) from which a query is cheaper, and safer for memory, by its own statement
_MANY, _OFTEN = 1 / 32, 1 / 128  # pairs found, of those of one product and of all, that make a finer type the faster
_SETTLED = 8  # blocks after which a threshold is near enough to its last for that to be told
_KEPT = 1 << 29  # bytes of the index as it is multiplied, that are kept for the next batch
_SHARED = 8  # blocks of it that batches under way share where it has more


@dataclass(frozen=True, slots=True)
class Sifted:
    """What is left of a batch: pairs that may be hits with their float32 scores, queries with too many to tell.

    `bound` is the widest of the products' scores, made by `hardware`, `exact` that of the float32 scores; `outside` are
    pairs whose two scores lie further apart than both bounds allow.
    """

    pairs: Candidates
    crowded: Ids
    hardware: frozenset[str]
    bound: Bound
    exact: Bound
    outside: int


class Sieve:
    """Finds the pairs that may be hits: rows of `vectors` (m, dim) float32 for queries (q,) and index images (x,).

    `products` go from the coarsest to float32. Once `stopped` is set, threads that sift give up with `CancelledError`.
    """

    def __init__(
        self,
        vectors: torch.Tensor,
        query_rows: Ids,
        index_rows: Ids,
        excluded: Exclusion,
        n: int,
        products: tuple[Product, ...],
    ) -> None:
        self.vectors = vectors
        self.query_rows = query_rows
        self.index_rows = index_rows
        self.excluded = excluded
        self.n = n
        self.products = products
        self.stopped = Event()
        self.blocks = _blocks(len(index_rows), max(_FIRST_BLOCK, 4 * n))
        self.coarsest = 0  # of the products that pay for these vectors
        self._factors: list[dict[int, Factor]] = [{} for _ in products]
        self._making = [Lock() for _ in self.blocks]
        self._keeping = Lock()
        with warnings.catch_warnings():  # which torch gives once: that sparse matrices are new to it, and not checked
            warnings.simplefilter("ignore")
            torch.sparse.sampled_addmm(torch.eye(1).to_sparse_csr(), torch.eye(1), torch.eye(1))

    def sift(self, batch: range) -> Sifted:
        """The pairs of a batch of queries that may be hits."""
        return _Sifting(self, batch).sifted()

    def images(self, level: int, number: int) -> Factor:
        """A block of the index as product `level` takes it, made once for batches that follow each other closely."""
        factors = self._factors[level]
        with self._making[number]:
            made = factors.get(number)
            if made is None:
                rows = torch.from_numpy(self.index_rows[self.blocks[number]])
                made = self.products[level].images(self.vectors[rows])
                whole = len(self.index_rows) * made.values[0].nbytes
                with self._keeping:
                    factors[number] = made
                    while whole > _KEPT and len(factors) > _SHARED:
                        del factors[next(iter(factors))]
            return made


class _Sifting:
    """One batch on its way through the blocks of the index; positions of queries are those within the batch."""

    def __init__(self, sieve: Sieve, batch: range) -> None:
        self.sieve = sieve
        self.start = batch.start
        self.queries = sieve.vectors[torch.from_numpy(sieve.query_rows[batch.start : batch.stop])]
        self.factors: dict[int, Factor] = {}
        self.nth = np.full(len(batch), BELOW_ALL)  # the n-th best float32 score so far
        self.pairs = Candidates.none()  # with float32 scores
        self.found: list[Candidates] = []  # with scores of products
        self.spread = Spread()  # of the index seen
        self.errors = np.zeros(len(batch))  # the widest bound of each query's scores
        self.rounding = 0.0
        self.outside = 0
        self.hardware: set[str] = set()

    def sifted(self) -> Sifted:
        """What is left when all blocks have been seen."""
        last, finest = len(self.sieve.blocks) - 1, len(self.sieve.products) - 1
        before = coarsest = self.sieve.coarsest
        reached = 0
        for number, images in enumerate(self.sieve.blocks):
            if number == 0:
                self._score_first(images)
            else:
                found = self._score(number, images, coarsest)
                reached += found
                if number >= _SETTLED and found > _MANY * len(self.nth) * len(images):
                    coarsest = min(coarsest + 1, finest)
            if number & (number - 1) == 0 or number == last:  # ever rarer: each time the index seen doubles
                self._tighten()
        if reached > _OFTEN * len(self.nth) * len(self.sieve.index_rows):
            self.sieve.coarsest = min(max(coarsest, before + 1), finest)
        order = np.argsort(self.pairs.queries, kind="stable")
        pairs = self.pairs.where(order)
        return Sifted(
            replace(pairs, queries=pairs.queries + np.int32(self.start)),
            self.start + np.flatnonzero(self.nth == ABOVE_ALL),
            frozenset(self.hardware or {self.sieve.products[-1].name}),
            Bound(float(self.errors.max()), self.rounding),
            self.exact,
            self.outside,
        )

    @property
    def exact(self) -> Bound:
        """Of float32 scores with the images seen so far."""
        dim, queries = self.queries.shape[1], self.factors[len(self.sieve.products) - 1].spread
        return score_bound(
            dim, replace(queries, residual=0.0), replace(self.spread, residual=0.0), step=FLOAT32, rounding=0.0
        )

    def _score_first(self, images: Ids) -> None:
        """The first block, which is a random sample of the index, in float32, so that thresholds are good ones."""
        level = len(self.sieve.products) - 1
        product = self.sieve.products[level]
        factor = self.sieve.images(level, 0)
        bound = self._bound(level, factor)
        for rows in self._tiles():
            scores = product.scores(self.factors[level][rows], factor)
            nth = self._nth_of_sample(scores, rows, images) if self.sieve.n <= len(images) else self.nth[rows]
            kept, values = at_least(scores, torch.from_numpy(bound.floor(nth)).to(scores.dtype))
            self._keep(*np.divmod(kept, len(images)), values, rows, images)

    def _score(self, number: int, images: Ids, coarsest: int) -> int:
        """Another block; returns how many pairs reached the floor of the coarsest product."""
        reached = 0
        prepared: dict[int, tuple[Factor, Bound]] = {}
        for rows in self._tiles():
            for level in range(coarsest, len(self.sieve.products)):
                product = self.sieve.products[level]
                if level not in prepared:
                    factor = self.sieve.images(level, number)
                    prepared[level] = factor, self._bound(level, factor)
                factor, bound = prepared[level]
                floors = self.nth - self.exact.error - bound.error
                found = product.reach(self.factors[level][rows], factor, floors[rows])
                self.hardware.add(product.name)
                if level == coarsest:
                    reached += len(found[0])
                if len(found[0]) <= _MANY * (rows.stop - rows.start) * len(images):
                    break
            self._keep(*found, rows, images)
            if sum(map(len, self.found)) > _PENDING:
                self._tighten()
        return reached

    def _tiles(self) -> Iterator[slice]:
        for first in range(0, len(self.nth), _QUERY_BLOCK):
            if self.sieve.stopped.is_set():
                raise CancelledError
            yield slice(first, min(first + _QUERY_BLOCK, len(self.nth)))

    def _bound(self, level: int, images: Factor) -> Bound:
        """Of the product's scores of the batch with a block of the index, which now counts as seen."""
        product = self.sieve.products[level]
        if level not in self.factors:
            self.factors[level] = product.queries(self.queries)
        self.spread |= images.spread
        bound = product.bound(self.factors[level].spread, images.spread)
        np.maximum(self.errors, bound.error, out=self.errors)
        self.rounding = max(self.rounding, bound.rounding)
        return bound

    def _nth_of_sample(self, scores: torch.Tensor, rows: slice, images: Ids) -> npt.NDArray[np.float64]:
        """The n-th best score of each query among images that it may retrieve."""
        queries = np.arange(self.start + rows.start, self.start + rows.stop)
        excluded = torch.from_numpy(self.sieve.excluded(queries[:, None], images)).to(scores.device)
        allowed = scores.masked_fill(excluded, BELOW_ALL)
        best: npt.NDArray[np.float64] = allowed.topk(self.sieve.n, dim=1).values[:, -1].double().cpu().numpy()
        return best

    def _keep(self, queries: Ids, images: Ids, scores: npt.NDArray[np.float32], rows: slice, block: Ids) -> None:
        """Found pairs, whose positions are those within their rows and their block, unless they are excluded."""
        found = Candidates((rows.start + queries).astype(np.int32), block[images].astype(np.int32), scores)
        self.found.append(found.where(~self.sieve.excluded(self.start + found.queries, found.images)))

    def _tighten(self) -> None:
        """Score in float32 what was found, and leave what may still be hits; queries with too many become crowded."""
        pairs = Candidates.joined([self.pairs, self._rescored()])
        n, exact = self.sieve.n, self.exact
        np.maximum(self.nth, pairs.nth_best(n, len(self.nth)), out=self.nth)
        pairs = pairs.where(pairs.scores >= exact.floor(self.nth)[pairs.queries])
        crowded = pairs.counts(len(self.nth)) > max(_CROWDED, 8 * n)
        self.nth[crowded] = ABOVE_ALL
        self.pairs = pairs.where(~crowded[pairs.queries])

    def _rescored(self) -> Candidates:
        """What was found with its float32 scores: products at the places of a sparse matrix (queries, vectors)."""
        found = Candidates.joined([Candidates.none(), *self.found])
        self.found = []
        if not len(found):
            return found
        found = found.where(np.argsort(found.queries, kind="stable"))
        ends = torch.from_numpy(np.concatenate([[0], np.cumsum(found.counts(len(self.nth)))]))
        rows = torch.from_numpy(self.sieve.index_rows[found.images])
        shape = len(self.nth), len(self.sieve.vectors)
        places = torch.sparse_csr_tensor(ends, rows, torch.zeros(len(found)), size=shape, check_invariants=False)
        sums = torch.sparse.sampled_addmm(places, self.queries, self.sieve.vectors.T, beta=0.0)
        scores = sums.values().numpy()
        apart = np.abs(scores.astype(np.float64) - found.scores)
        allowed = self.errors[found.queries] + self.exact.error + self.rounding * np.abs(found.scores)
        self.outside += int((apart > allowed).sum())
        return replace(found, scores=scores)


def _blocks(size: int, first: int) -> list[Ids]:
    """Positions 0 to `size` in blocks, each a random sample, so that the first can stand for all."""
    positions = np.random.default_rng(0).permutation(size)
    cuts = range(min(first, size), size, _INDEX_BLOCK)
    return [np.sort(block) for block in np.split(positions, list(cuts)) if len(block)]
