"""Points of many dimensions laid out in two, so that neighbours stay neighbours: t-SNE and PaCMAP.

The points are unit vectors, whose squared Euclidean distance is twice the cosine distance, so the order of neighbours
is that of retrieval. Both methods start from the first principal components: these keep the large structure of the
collection (Kobak and Berens 2019, "The art of using t-SNE for single-cell transcriptomics", Nature Communications 10),
and bound memory and time, since neighbours are looked for among `COMPONENTS` numbers per image, as van der Maaten and
Hinton (2008, "Visualizing data using t-SNE", JMLR 9) do.
"""

import importlib
import logging
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcbir.errors import InputError, RunError
from medcbir.interrupts import held_back
from medcbir.types import Progress

Method = Literal["tsne", "pacmap"]
Floats = npt.NDArray[np.float32]
Layout = tuple[Floats, dict[str, Any]]
"""Coordinates (n, 2) and what they were made with."""

COMPONENTS = 50
"""Principal components that are kept."""

FEWEST = 5
"""Images that a map needs."""

LANDMARKS = 100_000
"""Points that a method lays out. Where there are more, so many drawn by the seed are, and every other point goes to the
median of its `_PLACED_BY` nearest among them, the place where Kobak and Berens 2019 have it start."""

_PLACED_BY = 10
_PERPLEXITY = 30.0
_FEW = 3_000  # points up to which a quadtree and one thread are faster
_EXACT = 50_000  # points up to which all are compared with all
_BLOCK = 1 << 14  # points placed at a time
_PROBES = 24  # lists of the inverted file that each point searches
_REPORTED = 25  # iterations between two reports


def principal_components(blocks: Callable[[], Iterator[npt.NDArray[np.float32]]]) -> tuple[Floats, float]:
    """The first `COMPONENTS` principal components (n, c) of vectors that come in blocks (b, dim), twice the same.

    With the share of variance that they hold. Signs are those with a positive sum of cubed loadings. float64 sums over
    blocks, so that memory holds a block, the covariance (dim, dim) and the result. Raises `RunError` where all vectors
    are equal.
    """
    count, total, products = 0, np.zeros(1), np.zeros((1, 1))
    for block in blocks():
        count += len(block)
        total = total + block.sum(axis=0, dtype=np.float64)
        products = products + (block.T @ block)
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    kept = min(COMPONENTS, len(mean), count - 1)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1][:kept], axes[:, ::-1][:, :kept]
    axes = axes * np.where((axes**3).sum(axis=0) < 0, -1, 1)
    points = np.concatenate([(block - mean.astype(np.float32)) @ axes.astype(np.float32) for block in blocks()])
    if np.ptp(points[:, 0]) < 1e-6:
        raise RunError(f"all {count} vectors are equal: there is nothing to map")
    return points, float(variances.sum() / np.trace(covariance))


def lay_out(points: Floats, method: Method, seed: int, perplexity: float | None, progress: Progress) -> Layout:
    """Coordinates of points (n, c) by `method`, through `LANDMARKS` of them where there are more."""
    if len(points) <= LANDMARKS:
        return METHODS[method](points, seed, perplexity, progress)
    drawn = np.sort(np.random.default_rng(seed).choice(len(points), LANDMARKS, replace=False))
    coordinates, parameters = METHODS[method](points[drawn], seed, perplexity, progress)
    placed = np.empty((len(points), 2), np.float32)
    index = _index(points[drawn])
    progress.begin("place the others", "images", len(points))
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        placed[start : start + _BLOCK] = np.median(coordinates[index.search(block, _PLACED_BY)[1]], axis=1)
        progress.advance(len(block))
    placed[drawn] = coordinates
    return placed, {**parameters, "landmarks": LANDMARKS}


def nearest_neighbours(points: Floats, k: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Indices and distances (n, k) of the nearest other points: exact for small n, else by FAISS's inverted file."""
    count = len(points)
    squares, found = _index(points).search(points, k + 1)
    # a point is its own neighbour, first unless others are equal to it; then any one of the k + 1 can go
    own = found == np.arange(count)[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(count, k), np.sqrt(np.maximum(squares[~own], 0)).reshape(count, k)


def _index(points: Floats) -> Any:
    """FAISS's index: flat for few points, else an inverted file of 4 sqrt(n) lists, of which a search reads some.

    Its answers do not depend on the number of threads.
    """
    faiss = _module("faiss")
    count, dim = points.shape
    index = faiss.IndexFlatL2(dim)
    if count > _EXACT:
        index = faiss.IndexIVFFlat(index, dim, int(4 * count**0.5))
        index.nprobe = _PROBES
        index.train(points)
    index.add(points)
    return index


def tsne(points: Floats, seed: int, perplexity: float | None, progress: Progress) -> Layout:
    """t-SNE by openTSNE, whose gradient is interpolated by FFT where points are many (Linderman et al. 2019).

    250 iterations of early exaggeration and 500 without, learning rate n / 12 (Belkina et al. 2019), `perplexity` 30
    where none is given. The same seed gives the same bits.
    """
    open_tsne = _module("openTSNE")
    affinity, neighbors = _module("openTSNE.affinity"), _module("openTSNE.nearest_neighbors")
    count = len(points)
    threads = (os.cpu_count() or 1) if count > _FEW else 1
    k = min(count - 1, int(3 * (perplexity or _PERPLEXITY)))
    perplexity = min(perplexity or _PERPLEXITY, k / 3)
    progress.begin("find neighbours", "images", count)
    found = neighbors.PrecomputedNeighbors(*nearest_neighbours(points, k))
    progress.advance(count)
    affinities = affinity.PerplexityBasedNN(knn_index=found, perplexity=perplexity, n_jobs=threads)
    del found

    divergence = float("nan")

    def report(_: int, error: float, __: Any) -> None:
        nonlocal divergence
        divergence = error
        progress.advance(_REPORTED)
        interrupt()

    method = open_tsne.TSNE(
        negative_gradient_method="fft" if count > _FEW else "bh",
        n_jobs=threads,
        random_state=seed % 2**32,
        callbacks=report,
        callbacks_every_iters=_REPORTED,
    )
    progress.begin("t-SNE", "iterations", method.early_exaggeration_iter + method.n_iter)
    with held_back() as interrupt:  # openTSNE's trees crash where an exception comes into their midst
        embedding = method.fit(affinities=affinities, initialization=_start(points, seed))
    return np.asarray(embedding, np.float32), {
        "perplexity": perplexity,
        "early_exaggeration": method.early_exaggeration,
        "early_iterations": method.early_exaggeration_iter,
        "iterations": method.n_iter,
        "kl_divergence": round(divergence, 6),
        "openTSNE": version("openTSNE"),
    }


def pacmap(points: Floats, seed: int, perplexity: float | None, progress: Progress) -> Layout:
    """PaCMAP (Wang et al. 2021, "Understanding how dimension reduction tools work", JMLR 22) with its own defaults."""
    if perplexity is not None:
        raise InputError("a perplexity belongs to method tsne: pacmap has none")
    library = _module("pacmap")
    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns of the seed that it is given
    progress.begin("PaCMAP", "images", len(points))
    method = library.PaCMAP(n_components=2, random_state=seed % 2**31, apply_pca=False)
    coordinates = method.fit_transform(points, init=_start(points, seed))
    progress.advance(len(points))
    return np.asarray(coordinates, np.float32), {"neighbours": method.n_neighbors, "pacmap": version("pacmap")}


METHODS: dict[Method, Callable[[Floats, int, float | None, Progress], Layout]] = {"tsne": tsne, "pacmap": pacmap}


def _start(points: Floats, seed: int) -> npt.NDArray[np.float64]:
    """The first two components (n, 2), as small as the methods want them; equal points are told apart by noise."""
    start = points[:, :2].astype(np.float64)
    noise = np.random.default_rng(seed).normal(0, 1e-6, start.shape)
    small: npt.NDArray[np.float64] = start / start[:, 0].std() * 1e-4 + noise
    return small


def _module(name: str) -> Any:
    """A library of the map; `InputError` says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"a map needs {error.name}: pip install 'medcbir[bench]'") from None
