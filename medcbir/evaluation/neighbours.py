"""What neighbours are like beyond their labels, from the views of docs/evaluation.md: separation, hubs, agreement."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from medcbir.errors import InputError, RunError
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Run


@dataclass(frozen=True, slots=True)
class Silhouette:
    """How much nearer hits of the own class are than those of the next other one, in [-1, 1] (Rousseeuw 1987).

    `average` is 'class', named by `group`, or 'micro' and 'macro' over all; `value` is the mean over `defined` of the
    `queries`, `std` its sample standard deviation. `own_only` have hits of their own class alone, `none_own` of others
    alone, the rest has no labelled hits: they have none. None where no query has a value (std: where one has).
    """

    average: Literal["micro", "macro", "class"]
    group: str | None
    queries: int
    defined: int
    own_only: int
    none_own: int
    value: float | None
    std: float | None


@dataclass(frozen=True, slots=True)
class Hubness:
    """How unequally the images of an index are among the first `k` hits (Radovanović et al. 2010).

    `skewness` of how often each is: 0 where all are equally often or rare as others, large where some are hubs; None
    where all are equally often. `bad_share` is the share of hits of another class than their query's, in [0, 1].
    """

    k: int
    index: int
    never_retrieved: int
    most_occurrences: int
    mean_occurrences: float
    skewness: float | None
    bad_share: float


@dataclass(frozen=True, slots=True)
class Hub:
    """An image among the first `k` hits of `occurrences` queries, of which `bad_occurrences` are of another class."""

    k: int
    image_id: int
    occurrences: int
    bad_occurrences: int
    dataset: str
    label: str | None
    uri: str
    frame: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two runs' first `n` hits are, means in [0, 1] over the `queries` of both.

    `overlap` is the share that both return, `jaccard` the share of what either returns, `average_overlap` the mean of
    overlaps at depths 1 to n (Fagin et al. 2003, Webber et al. 2010). `jaccard` is None where neither has a hit.
    """

    first: str
    second: str
    n: int
    queries: int
    overlap: float
    jaccard: float | None
    average_overlap: float


def silhouettes(connection: Connection, run: Run) -> list[Silhouette]:
    """Micro, macro, and of each class by name; over the hits that `run` keeps. Raises `RunError` without labels."""
    rows = connection.execute(query("silhouettes"), {"run_id": run.run_id}).fetchall()
    if not rows:
        raise RunError(f"run {run.name} has no query with exactly one label, so classes cannot lie apart")
    return [Silhouette(*row) for row in rows]


def hubness(connection: Connection, run: Run, k: Sequence[int]) -> list[Hubness]:
    """A row for each of `k`. Raises `RunError` for a run without hits."""
    rows = connection.execute(query("hubness"), {"run_id": run.run_id, "k": list(k)}).fetchall()
    if not rows:
        raise RunError(f"run {run.name} has no hits, so no image is retrieved at all")
    return [Hubness(*row) for row in rows]


def hubs(connection: Connection, run: Run, k: int, limit: int) -> list[Hub]:
    """The `limit` images that are most often among the first `k` hits, the most frequent first."""
    if limit < 1:
        raise InputError(f"the number of images must be 1 or more, not {limit}")
    rows = connection.execute(query("hubs"), {"run_id": run.run_id, "k": k, "images": limit}).fetchall()
    return [Hub(*row) for row in rows]


def agreement(connection: Connection, runs: Sequence[Run], n: Sequence[int]) -> list[Agreement]:
    """Every pair of `runs`, for each of `n`.

    Raises `InputError` for a run that is named twice, `RunError` where two have no query in common.
    """
    if len({run.run_id for run in runs}) < len(runs):
        raise InputError("give two or more different runs")
    found = []
    for first, second in combinations(runs, 2):
        pair = {"first_run_id": first.run_id, "second_run_id": second.run_id, "n": list(n)}
        rows = connection.execute(query("agreement"), pair).fetchall()
        if not rows:
            raise RunError(
                f"runs {first.name} and {second.name} have no query in common: retrieve again with the same --queries"
            )
        found += [Agreement(first.name, second.name, *row) for row in rows]
    return found
