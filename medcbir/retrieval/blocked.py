"""The blocked engine: matrix products find the few images that can be hits, pgvector measures and orders those.

Each block of the index is scored against all queries of a batch in low precision where that is fast. A pair stays while
its score may still belong to the query's N nearest under the proven bound (docs/decisions/0005-blocked-engine.md),
then while its float32 score may; what remains gets pgvector's distance. Queries near which too many images lie too
close together for a bound to part them (thousands of copies) are answered by the pgvector engine itself.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medcbir.errors import RunError
from medcbir.retrieval.bound import ACCUMULATION, FLOAT32, Bound, Spread, gamma, score_bound
from medcbir.retrieval.cache import cached_vectors
from medcbir.retrieval.candidates import ABOVE_ALL, BELOW_ALL, Candidates, Exclusion
from medcbir.retrieval.engine import Hits, Ids, Task, pgvector
from medcbir.retrieval.rerank import distances, ranked

_QUERIES, _QUERY_BLOCK, _INDEX_BLOCK, _FIRST_BLOCK = 8192, 1024, 4096, 2048
_PENDING = 1 << 23  # pairs kept before thresholds are tightened
_PAIRS = 1 << 24  # aimed at per batch of queries
_CROWDED = 4096  # pairs (or 8 N) from which a query is cheaper, and safer for memory, by its own statement
_PRODUCTS = 1 << 22  # float32 products at a time, when pairs are scored again
_SAMPLE = 8  # queries answered again by the pgvector engine


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


@cache
def fastest(dim: int) -> Hardware:
    """The type with the fastest product here, by a short measurement; bfloat16 without hardware for it is slow."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(_QUERY_BLOCK, dim, generator=generator)
    right = torch.rand(4 * _QUERY_BLOCK, dim, generator=generator)
    seconds: dict[Hardware, float] = {}
    for hardware in (Hardware(device, torch.float32), Hardware(device, torch.bfloat16)):
        a, b = hardware.lowered(left), hardware.lowered(right)
        for _ in range(3):  # the first one also warms up
            started = time.perf_counter()
            float((a @ b.T)[0, 0])  # waits for the device
            took = time.perf_counter() - started
            seconds[hardware] = min(took, seconds.get(hardware, took))
    return min(seconds, key=seconds.__getitem__)


@contextmanager
def _scorers() -> Iterator[ThreadPoolExecutor]:
    """Two threads that share the processors: while one compares, which takes one processor, the other multiplies.

    Within, sums are float32's and float32 products full ones, whatever the program around has allowed.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    cuda = torch.backends.cuda.matmul
    reduced = cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(max(1, threads // 2),)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        cuda.allow_bf16_reduced_precision_reduction = reduced


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


@dataclass(frozen=True, slots=True)
class Sifted:
    """What is left of a batch: pairs that may be hits, queries with too many to tell, the bounds that were used.

    `bound` is that of the product's scores, `exact` that of the float32 scores that the pairs have now.
    """

    pairs: Candidates
    crowded: Ids
    bound: Bound
    exact: Bound


@dataclass(frozen=True, slots=True)
class Sieve:
    """Finds the pairs that may be hits: rows of `vectors` (m, dim) float32 for queries (q,) and index images (x,)."""

    vectors: torch.Tensor
    query_rows: Ids
    index_rows: Ids
    excluded: Exclusion
    n: int
    hardware: Hardware

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
            block = self.vectors[torch.from_numpy(self.index_rows[images])]
            lowered_block = self.hardware.lowered(block)
            index_spread |= self.hardware.spread(block, lowered_block)
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
        return Sifted(pairs.where(pairs.scores >= floors[pairs.queries]), crowded, bound, exact)

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


@dataclass(slots=True)
class Tally:
    """What the certificate counts while a run goes by; the bounds are the widest of any batch."""

    bound: Bound = field(default_factory=lambda: Bound(0.0, 0.0))
    exact: Bound = field(default_factory=lambda: Bound(0.0, 0.0))
    pairs: int = 0
    most_pairs: int = 0
    statements: int = 0
    outside: int = 0
    ties: int = 0
    margin: float | None = None

    def see_batch(self, sifted: Sifted, batch: range) -> None:
        """Bounds, pairs left for pgvector, and queries answered by a statement of their own."""
        self.bound = max(self.bound, sifted.bound, key=lambda bound: bound.error)
        self.exact = max(self.exact, sifted.exact, key=lambda bound: bound.error)
        counts = sifted.pairs.counts(batch.stop)[batch.start :]
        self.pairs += int(counts.sum())
        self.most_pairs = max(self.most_pairs, int(counts.max()))
        self.statements += len(sifted.crowded)

    def see_hits(self, distances: npt.NDArray[np.float64], n: int) -> None:
        """One query's distances, nearest first; its margin is that between the n-th and the next."""
        if len(distances) > n:
            gap = float(distances[n] - distances[n - 1])
            self.ties += gap == 0
            self.margin = gap if self.margin is None else min(self.margin, gap)

    def certificate(self, queries: int) -> dict[str, Any]:
        """What was counted, for a run of so many queries."""
        return {
            "bound": {
                "score": self.bound.error,
                "score_rounding": self.bound.rounding,
                "float32_score": self.exact.error,
            },
            "candidates": {"mean": self.pairs / queries, "max": self.most_pairs},
            "answered_by_statement": self.statements,
            "smallest_margin": self.margin,
            "ties": self.ties,
            "outside_bound": self.outside,
        }


def blocked(task: Task) -> Iterator[Hits]:
    """Exactly the hits of the pgvector engine; the certificate is complete with the last of them.

    Raises `RunError` where a query of the sample is answered otherwise by the pgvector engine, or a distance lies
    outside the bound of its score: then the proof's assumptions do not hold on this machine, or the copy is damaged.
    """
    cached = cached_vectors(task.connection, task.encoder, task.cache_dir)
    sieve = Sieve(
        vectors=torch.from_numpy(cached.vectors),
        query_rows=cached.rows(task.queries.image_ids),
        index_rows=cached.rows(task.index.image_ids),
        excluded=Exclusion(task.queries, task.index, task.exclude_same_patient),
        n=task.n + 1,  # so that the margin at rank n is known
        hardware=fastest(task.encoder.dim),
    )
    tally, differences = Tally(), 0
    sample = np.unique(np.linspace(0, len(task.queries) - 1, _SAMPLE).astype(np.int64))
    with ThreadPoolExecutor(1) as database:  # the connection's statements, in turn, beside the scoring
        again = database.submit(_by_statement, task, sample)
        for position, image_ids, measured in _in_batches(task, sieve, tally, database):
            hits = position, image_ids[: task.n], measured[: task.n]
            tally.see_hits(measured, task.n)
            if position in sample:
                differences += not _same(hits, again.result()[position])
            yield hits
    task.certificate.update(engine="blocked", hardware=sieve.hardware.name, sample=len(sample), differences=differences)
    task.certificate.update(tally.certificate(len(task.queries)))
    if differences or tally.outside:
        raise RunError(
            f"the blocked engine contradicts pgvector in {differences} of {len(sample)} sampled queries and "
            f"{tally.outside} distances, so the run is not kept: use `--engine pgvector`, remove {task.cache_dir}, "
            "and report it"
        )


def _in_batches(task: Task, sieve: Sieve, tally: Tally, database: ThreadPoolExecutor) -> Iterator[Hits]:
    """Each query's hits and the one after them; a batch is measured by the database while others are scored."""
    size = min(_QUERIES, max(1, _PAIRS // (8 * task.n)))
    batches = [range(start, min(start + size, len(task.queries))) for start in range(0, len(task.queries), size)]
    ahead: deque[Future[Sifted]] = deque()
    waiting: deque[Future[tuple[list[Hits], int]]] = deque()
    with _scorers() as scorers:
        for number, batch in enumerate(batches):
            while len(ahead) < 3 and number + len(ahead) < len(batches):
                ahead.append(scorers.submit(sieve.sift, batches[number + len(ahead)]))
            sifted = ahead.popleft().result()
            tally.see_batch(sifted, batch)
            waiting.append(database.submit(_measured, task, sifted, batch))
            if len(waiting) > 1:
                yield from _counted(waiting.popleft(), tally)
    for measured in waiting:
        yield from _counted(measured, tally)


def _counted(batch: Future[tuple[list[Hits], int]], tally: Tally) -> Iterator[Hits]:
    hits, outside = batch.result()
    tally.outside += outside
    yield from hits


def _measured(task: Task, sifted: Sifted, batch: range) -> tuple[list[Hits], int]:
    """The batch's hits by pgvector's distances, and how many of those lie outside the bound of their score."""
    pairs = sifted.pairs.where(np.argsort(sifted.pairs.queries, kind="stable"))
    measured = distances(
        task.connection, task.encoder, task.queries.image_ids[pairs.queries], task.index.image_ids[pairs.images]
    )
    outside = int((np.abs(1 - measured - pairs.scores) > sifted.exact.error).sum())
    by_statement = _by_statement(replace(task, n=task.n + 1), sifted.crowded)
    hits = [by_statement.get(hits[0], hits) for hits in ranked(task, pairs, measured, batch)]
    return hits, outside


def _by_statement(task: Task, positions: Ids) -> dict[int, Hits]:
    """Hits of the queries at `positions` (p,) by the pgvector engine."""
    return {
        int(positions[number]): (int(positions[number]), image_ids, found)
        for number, image_ids, found in pgvector(replace(task, queries=task.queries.where(positions)))
    }


def _same(hits: Hits, other: Hits) -> bool:
    return np.array_equal(hits[1], other[1]) and np.array_equal(hits[2], other[2])
