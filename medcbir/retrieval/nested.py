"""Top N among subsets of an index that lie in each other, from one pass over the largest.

Every image of the index has a level, and a subset is all images up to a level. Scores are float32 products; a pair is
kept while it may still be a hit of some subset under the proven bound of the blocked engine
(docs/decisions/0005-blocked-engine.md), and pgvector measures what is kept: hits are those of the pgvector engine.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from medcbir.errors import RunError
from medcbir.retrieval.bound import FLOAT32, Bound, Spread, gamma, score_bound
from medcbir.retrieval.cache import CachedVectors
from medcbir.retrieval.candidates import BELOW_ALL, Candidates, Exclusion
from medcbir.retrieval.image_sets import Exclusions, Ids, ImageSet
from medcbir.retrieval.rerank import distances
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.types import Vectors

_QUERY_BLOCK, _INDEX_BLOCK = 1024, 4096


def nested_top_n(
    connection: Connection,
    encoder: StoredEncoder,
    cached: CachedVectors,
    queries: ImageSet,
    index: ImageSet,
    levels: Ids,
    n: int,
    *,
    exclude_same_patient: bool,
) -> Iterator[Ids]:
    """For each level in turn, the hits (q, n) of every query among the images up to it, as positions in `index`.

    `levels` (x,) are those of the index images, from 0 on without a gap. Hits are in the order (pgvector's distance,
    image id), -1 where there are fewer. `connection` is inside the transaction that `cached` was read in. Raises
    `RunError` where a distance lies outside the bound of its score.
    """
    parts, bounds = [], []
    for first in range(0, len(queries), _QUERY_BLOCK):
        block = np.arange(first, min(first + _QUERY_BLOCK, len(queries)))
        found, bound = _sifted(cached, queries, index, levels, n, block, exclude_same_patient)
        parts.append(found)
        bounds.append(bound)
    pairs = Candidates.joined(parts)
    pairs = pairs.where(np.argsort(pairs.queries, kind="stable"))
    query_ids, image_ids = queries.image_ids[pairs.queries], index.image_ids[pairs.images]
    measured = distances(connection, encoder, query_ids, image_ids, stored=len(cached.image_ids))
    outside = int((np.abs(1 - measured - pairs.scores) > max(bound.error for bound in bounds)).sum())
    if outside:
        raise RunError(
            f"{outside} distances lie outside the bound of their scores: the copy of the vectors is damaged; remove "
            "folder cache of the data directory and try again"
        )
    order = np.lexsort((index.image_ids[pairs.images], measured, pairs.queries))
    pairs = pairs.where(order)
    of_pairs = levels[pairs.images]
    for level in range(int(levels.max()) + 1):
        upto = pairs.where(of_pairs <= level)
        counts = upto.counts(len(queries))
        rank = np.arange(len(upto)) - (np.cumsum(counts) - counts)[upto.queries]
        near = rank < n
        hits = np.full((len(queries), n), -1, dtype=np.int64)
        hits[upto.queries[near], rank[near]] = upto.images[near]
        yield hits


def _sifted(
    cached: CachedVectors,
    queries: ImageSet,
    index: ImageSet,
    levels: Ids,
    n: int,
    block: Ids,
    exclude_same_patient: bool,
) -> tuple[Candidates, Bound]:
    """Pairs of the queries at positions `block` that may be hits up to some level, and the widest bound used."""
    excluded = Exclusion(queries, index, Exclusions(same_patient=exclude_same_patient))
    vectors = np.asarray(cached.vectors[cached.rows(queries.image_ids[block])])
    spread, seen = _spread(vectors), Spread()
    bound = Bound(0.0, 0.0)
    best = np.full((len(block), n), BELOW_ALL, dtype=np.float32)
    kept: list[Candidates] = []
    for level in range(int(levels.max()) + 1):
        images = np.flatnonzero(levels == level)
        of_level = []
        for first in range(0, len(images), _INDEX_BLOCK):
            columns = images[first : first + _INDEX_BLOCK]
            stored = np.asarray(cached.vectors[cached.rows(index.image_ids[columns])])
            seen |= _spread(stored)
            bound = score_bound(stored.shape[1], spread, seen, step=FLOAT32, rounding=0.0)
            scores = vectors @ stored.T
            scores[excluded(block[:, None], columns)] = BELOW_ALL
            best = _best(np.concatenate([best, _best(scores, n)], axis=1), n)
            rows, at = np.nonzero((scores >= _floors(bound, best)[:, None]) & (scores > BELOW_ALL))
            of_level.append(Candidates(block[rows].astype(np.int32), columns[at].astype(np.int32), scores[rows, at]))
        found = Candidates.joined(of_level)
        kept.append(found.where(found.scores >= _floors(bound, best)[found.queries - block[0]]))
    return Candidates.joined(kept), bound


def _best(scores: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float32]:
    """The `n` largest of each row in any order, or all where there are fewer."""
    return scores if scores.shape[1] <= n else np.partition(scores, -n, axis=1)[:, -n:]


def _floors(bound: Bound, best: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The score (q,) below which an image is no hit; `best` (q, n) are the best so far."""
    least = bound.floor(best.min(axis=1).astype(np.float64)).astype(np.float32)
    return np.nextafter(least, np.float32(-np.inf))


def _spread(vectors: Vectors) -> Spread:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return Spread(float(np.abs(norms - 1).max()) + gamma(vectors.shape[1] + 4, FLOAT32))
