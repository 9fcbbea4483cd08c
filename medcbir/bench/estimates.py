"""How long steps take, for a dry run: seconds by the amount of work, at rates that whole steps had on two cores.

The rates are those of docs/benchmarks.md, the machine alone: two cores with AVX512_BF16, no GPU. Constants are what a
step takes with hardly any data.
"""

_ROWS = 12_000.0  # images catalogued from a table, per second
_IMPORTED = 18_000.0  # vectors generated, written and imported
_ENCODED = 20.0  # images by a ViT-B/16
_COPIED = 45_000.0  # vectors copied out of the database, before the first retrieval
_PRODUCTS = 1.5e11  # multiplications of a query with an index vector, by component
_EVALUATED = 7_000.0  # queries, all metrics with their intervals
_REGENERATED = 40_000.0  # images, compared with 200 queries in float64
_TRAINED = 80_000.0  # vectors of an epoch
_DRAWN = 10_000.0  # index images, all draws of an ablation
_LAID_OUT = 600.0  # images by t-SNE
_PLACED = 20_000.0  # images beside those that t-SNE laid out
_LANDMARKS = 100_000  # images that t-SNE lays out at most


def cataloguing(images: int) -> float:
    """Seconds until so many rows of a table are in the catalogue."""
    return 5 + images / _ROWS


def importing(images: int) -> float:
    """Seconds until so many vectors are generated and stored."""
    return 3 + images / _IMPORTED


def encoding(images: int) -> float:
    """Seconds until so many images have their vectors."""
    return 5 + images / _ENCODED


def retrieving(queries: int, index: int, dim: int, *, copied: int = 0) -> float:
    """Seconds of a run; `copied` vectors are brought out of the database first."""
    return 3 + copied / _COPIED + queries * index * dim / _PRODUCTS


def evaluating(queries: int) -> float:
    """Seconds for all metrics of a run."""
    return 2 + queries / _EVALUATED


def checking(images: int) -> float:
    """Seconds of brute force over so many images generated again."""
    return 4 + images / _REGENERATED


def probing(images: int, epochs: int) -> float:
    """Seconds of a linear probe that is not stopped early."""
    return 2 + epochs * images / _TRAINED


def ablating(index: int) -> float:
    """Seconds of an ablation of an index of so many images."""
    return 1 + index / _DRAWN


def mapping(images: int) -> float:
    """Seconds of a map."""
    return 5 + min(images, _LANDMARKS) / _LAID_OUT + max(0, images - _LANDMARKS) / _PLACED
