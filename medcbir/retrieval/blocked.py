"""The blocked engine: matrix products find the few images that can be hits, pgvector measures and orders those.

Queries near which too many images lie too close together for a bound to part them (thousands of copies) are answered
by the pgvector engine itself. Why nothing is lost: docs/decisions/0005-blocked-engine.md.
"""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from medcbir.retrieval.cache import cached_vectors
from medcbir.retrieval.candidates import Exclusion
from medcbir.retrieval.certificate import Certificate
from medcbir.retrieval.engine import Answer, Hits, Task, by_statement
from medcbir.retrieval.hardware import scorers
from medcbir.retrieval.image_sets import Ids
from medcbir.retrieval.products import products
from medcbir.retrieval.rerank import distances, ranked
from medcbir.retrieval.sieve import Sieve, Sifted

_SAMPLE = 8  # queries of a run that the pgvector engine answers again
_AHEAD = 3  # blocks claimed: two being scored, one to come


def blocked(task: Task, blocks: Iterable[range]) -> Generator[Answer, None, None]:
    """Exactly the hits of the pgvector engine; a block is measured by the database while others are scored.

    A certificate says of its block whether a query of the sample is answered otherwise by the pgvector engine, or a
    distance lies outside the bound of its score: then the proof's assumptions do not hold on this machine, or the copy
    of the vectors is damaged.
    """
    cached = cached_vectors(task.connection, task.encoder, task.cache_dir)
    sieve = Sieve(
        vectors=torch.from_numpy(cached.vectors),
        query_rows=cached.rows(task.queries.image_ids),
        index_rows=cached.rows(task.index.image_ids),
        excluded=Exclusion(task.queries, task.index, task.exclusions),
        n=task.n + 1,  # so that the margin at rank n is known
        products=products(task.encoder.dim),
    )
    coming = iter(blocks)
    scored: deque[tuple[range, Future[Sifted], Future[list[Hits]]]] = deque()
    measured: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(1) as database, scorers() as scoring:
        try:
            while True:
                while len(scored) < _AHEAD and (block := next(coming, None)) is not None:
                    again = database.submit(by_statement, task, _sample(task, block))  # which waits for disks, too
                    scored.append((block, scoring.submit(sieve.sift, block), again))
                if not scored:
                    break
                block, sifted, again = scored.popleft()
                measured.append(database.submit(_measured, task, sifted.result(), again.result(), block))
                if len(measured) > 1:
                    yield measured.popleft().result()
            for answer in measured:
                yield answer.result()
        finally:
            sieve.stopped.set()
            for _, sifted, again in scored:
                sifted.cancel()
                again.cancel()


def _measured(task: Task, sifted: Sifted, again: list[Hits], block: range) -> Answer:
    """The block's hits by pgvector's distances, and what was seen of them; `again` are those of the sample."""
    pairs = sifted.pairs
    measured = distances(
        task.connection,
        task.encoder,
        task.queries.image_ids[pairs.queries],
        task.index.image_ids[pairs.images],
        stored=len(task.queries) + len(task.index),
    )
    alone = {hits[0]: hits for hits in by_statement(task, sifted.crowded)}
    hits = [alone.get(hits[0], hits) for hits in ranked(task, pairs, measured, block)]
    counts = pairs.counts(block.stop)[block.start :]
    certificate = Certificate(
        engine="blocked",
        hardware=tuple(sorted(sifted.hardware)),
        score_bound=float(sifted.bound.error),
        score_rounding=sifted.bound.rounding,
        float32_bound=float(sifted.exact.error),
        queries=len(block),
        pairs=int(counts.sum()),
        most_pairs=int(counts.max()),
        statements=len(alone),
        outside=sifted.outside + int(sifted.exact.excludes(pairs.scores, 1 - measured).sum()),
        sample=len(again),
        differences=sum(not _same(each, hits[each[0] - block.start]) for each in again),
    )
    return Answer(block, hits, certificate.with_margins([found for _, _, found in hits], task.n))


def _sample(task: Task, block: range) -> Ids:
    """Positions of those queries of the block that are among the run's sample, which is spread over all its queries."""
    sample = np.unique(np.linspace(0, len(task.queries) - 1, _SAMPLE).astype(np.int64))
    return sample[(sample >= block.start) & (sample < block.stop)]


def _same(hits: Hits, other: Hits) -> bool:
    return np.array_equal(hits[1], other[1]) and np.array_equal(hits[2], other[2])
