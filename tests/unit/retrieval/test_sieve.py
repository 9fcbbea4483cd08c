"""What is left holds the nearest of every query, whichever types are used and kept, and by whichever thread."""

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from vector_sets import CHAINS, chains

from medcbir.encoders.device import full_precision
from medcbir.retrieval import sieve as sieve_module
from medcbir.retrieval.candidates import Exclusion
from medcbir.retrieval.image_sets import Exclusions, ImageSet
from medcbir.retrieval.sieve import Sieve, Sifted
from medcbir.store.vectors import unit
from medcbir.types import Vectors

DIM, QUERIES, N = 64, 96, 10
EACH_CHAIN = pytest.mark.parametrize("chain", range(len(CHAINS)), ids=CHAINS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"_QUERY_BLOCK": 32, "_INDEX_BLOCK": 512, "_FIRST_BLOCK": 256, "_PENDING": 20_000}.items():
        monkeypatch.setattr(sieve_module, name, size)


def images(first: int, count: int) -> ImageSet:
    ids, nothing = np.arange(first, first + count), np.zeros(count, np.int64)
    return ImageSet(ids, nothing, nothing, ids, nothing)


def sieve_of(vectors: Vectors, chain: int) -> Sieve:
    """Whose queries are the first vectors, and whose index all of them."""
    everything = np.arange(len(vectors))
    excluded = Exclusion(images(0, QUERIES), images(0, len(vectors)), Exclusions())
    return Sieve(torch.from_numpy(vectors), everything[:QUERIES], everything, excluded, N, chains(DIM)[chain])


def check(sifted: Sifted, vectors: Vectors, batch: range) -> None:
    """Every query that is not crowded keeps its nearest images, and not itself."""
    similarity = vectors[:QUERIES].astype(np.float64) @ vectors.T.astype(np.float64)
    similarity[np.arange(QUERIES), np.arange(QUERIES)] = -4
    for query in set(batch) - set(sifted.crowded.tolist()):
        kept = sifted.pairs.images[sifted.pairs.queries == query]
        assert query not in kept
        assert set(np.argsort(-similarity[query])[:N]) <= set(kept.tolist())
    assert sifted.outside == 0


def spread_out(rng: np.random.Generator, count: int = 3000) -> Vectors:
    return unit(rng.normal(size=(count, DIM)))


def close_together(rng: np.random.Generator) -> Vectors:
    """So near to each other that 8-bit integers cannot tell most of them apart."""
    return unit(rng.normal(size=DIM) + 0.05 * rng.normal(size=(3000, DIM)))


@EACH_CHAIN
@pytest.mark.parametrize("make", [spread_out, close_together])
def test_the_nearest_are_left(make: Callable[[np.random.Generator], Vectors], chain: int) -> None:
    vectors = make(np.random.default_rng(0))
    with full_precision:
        sifted = sieve_of(vectors, chain).sift(range(QUERIES))
    check(sifted, vectors, range(QUERIES))
    assert len(sifted.crowded) == 0
    assert len(sifted.pairs) < 3 * N * QUERIES
    assert sifted.hardware <= {product.name for product in chains(DIM)[chain]}


@pytest.mark.parametrize("chain", [each for each, name in enumerate(CHAINS) if "int8" in name])
def test_a_type_that_finds_too_many_gives_way_to_a_finer_one(chain: int) -> None:
    coarse, finer, _ = chains(DIM)[chain]
    rng = np.random.default_rng(1)
    sparse, dense = sieve_of(spread_out(rng, 20_000), chain), sieve_of(close_together(rng), chain)
    sparse.sift(range(QUERIES))
    assert sparse.coarsest == 0
    first = dense.sift(range(64))
    assert {coarse.name, finer.name} <= first.hardware
    assert dense.coarsest == 1
    assert coarse.name not in dense.sift(range(64, QUERIES)).hardware


@pytest.mark.parametrize("kept", [1 << 29, 0], ids=["kept", "made again"])
def test_batches_side_by_side_share_the_index(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether blocks of it stay or only the newest do, each batch is as if it were alone."""
    monkeypatch.setattr(sieve_module, "_KEPT", kept)
    monkeypatch.setattr(sieve_module, "_SHARED", 2)
    vectors = spread_out(np.random.default_rng(2))
    batches = [range(start, start + 24) for start in range(0, QUERIES, 24)]
    for chain in range(len(CHAINS)):
        sieve = sieve_of(vectors, chain)
        with full_precision, ThreadPoolExecutor(3) as pool:
            together = list(pool.map(sieve.sift, batches))
        for batch, sifted in zip(batches, together, strict=True):
            alone = sieve_of(vectors, chain).sift(batch)
            check(sifted, vectors, batch)
            assert np.array_equal(sifted.pairs.queries, alone.pairs.queries)
            assert np.array_equal(sifted.pairs.images, alone.pairs.images)


def test_a_sieve_that_is_stopped_gives_up() -> None:
    sieve = sieve_of(spread_out(np.random.default_rng(3)), 0)
    sieve.stopped.set()
    with pytest.raises(CancelledError):
        sieve.sift(range(QUERIES))
