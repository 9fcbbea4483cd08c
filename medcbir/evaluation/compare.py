"""Runs compared query by query, and a run with itself without the hits that leak.

Both sides answer the same queries, so what counts is the difference of each query's value. Its average has an interval
by resampling patients (`bootstrap`) and a p-value by Fisher's randomisation: were the runs alike, each patient's
differences could as well have the other sign. All signs are tried where patients are few; else a sample, counted with
the observed one (Phipson and Smyth 2010). Randomisation is what Smucker, Allan and Carterette (2007) recommend for
retrieval. Holm (1979) corrects for the number of pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from medcbir.errors import InputError, RunError
from medcbir.evaluation.bootstrap import AVERAGES, SEED, Floats, Ids, Scores, Sums, intervals
from medcbir.evaluation.scores import Column, read_scores
from medcbir.store.columns import copy_columns
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Average, Definition, Run

FLIPS = 10_000
"""Random signs tried where all are too many; the smallest p is then 1 / (`FLIPS` + 1)."""

LEVEL = 0.05
"""Of significance, after Holm's correction."""

_ALL_SIGNS = 13  # clusters up to which all signs are fewer than `FLIPS`
_FLIPS_AT_ONCE, _CLUSTERS_AT_ONCE = 1 << 10, 1 << 11  # 16 MiB of signs


@dataclass(frozen=True, slots=True)
class Difference:
    """A number of `first` less that of `second`, over `queries` where both have one; `p_holm` is over all pairs.

    `overlap` is the mean share of the first N hits that both runs return, over all queries of both (view agreement).
    Values are None where no query has one; the interval and p also where all queries are of one patient.
    """

    first: str
    second: str
    n: int
    average: Average
    definition: Definition
    queries: int
    first_value: float | None
    second_value: float | None
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None = None
    overlap: float | None = None

    @property
    def significant(self) -> bool:
        """Whether it is no chance at `LEVEL`, all pairs considered."""
        return self.p_holm is not None and self.p_holm < LEVEL

    def turned(self) -> "Difference":
        """The same of `second` less `first`."""
        low, high, difference = (
            None if each is None else -each for each in (self.ci_high, self.ci_low, self.difference)
        )
        return replace(
            self,
            first=self.second,
            second=self.first,
            first_value=self.second_value,
            second_value=self.first_value,
            difference=difference,
            ci_low=low,
            ci_high=high,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared: labelled queries common to all, their patients, differences, and what a reader must know."""

    runs: tuple[Run, ...]
    queries: int
    patients: int
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def both_ways(self) -> list[Difference]:
        """Every difference, and turned round."""
        return [turned for each in self.differences for turned in (each, each.turned())]


def compare(connection: Connection, runs: Sequence[Run], n: Sequence[int]) -> Comparison:
    """Every pair of `runs`, on the queries that all of them answered with the same class.

    Raises `InputError` for fewer than two runs or one named twice, `RunError` where no query is common to them.
    """
    if len(runs) < 2 or len({run.run_id for run in runs}) < len(runs):
        raise InputError("give two or more different runs to compare; `--leakage` compares one with itself")
    read = [read_scores(connection, run, ["precision", "precision_capped"], n) for run in runs]
    scores, columns = [found[0] for found in read], _definitions(read[0][1])
    keys = [each.query_ids * (1 << 24) + each.classes for each in scores]
    common = keys[0]
    for other in keys[1:]:
        common = np.intersect1d(common, other)
    if not len(common):
        raise RunError(
            f"runs {', '.join(run.name for run in runs)} have no labelled query in common: retrieve again with the "
            "same --queries"
        )
    warnings = [
        f"run {run.name}: {len(own) - len(common)} of its {len(own)} labelled queries are not common to all runs, and "
        "are left out"
        for run, own in zip(runs, keys, strict=True)
        if len(own) > len(common)
    ]
    warnings += _unlike(connection, runs)
    scores = [each.where(np.isin(own, common)) for each, own in zip(scores, keys, strict=True)]
    found = []
    for (first, of_first), (second, of_second) in combinations(zip(runs, scores, strict=True), 2):
        pair = {"first_run_id": first.run_id, "second_run_id": second.run_id, "n": list(n)}
        overlaps = dict(connection.execute(query("agreement"), pair).fetchall())
        differences = pair_differences((first.name, of_first), (second.name, of_second), columns)
        found.append([replace(each, overlap=overlaps[each.n]) for each in differences])
    return Comparison(tuple(runs), len(common), len(np.unique(scores[0].clusters)), _corrected(found), tuple(warnings))


def leakage(connection: Connection, run: Run, n: Sequence[int], within: float) -> Comparison:
    """A run with all its hits, against itself without those of the query's patient, duplicates, and both.

    A duplicate has the query's pixels, or a distance of at most `within`. Further hits move up, so a query needs more
    hits than N; one that runs out of them has no value, and is left out and counted in the warnings. By definition
    `paper`: how many relevant images are duplicates is not known beyond the hits.
    """
    paper = read_scores(connection, run, ["precision"], n)[0]
    hits = copy_columns(
        connection,
        query("hits_with_leaks"),
        {"run_id": run.run_id, "within": within},
        {"query_id": "bigint", **dict.fromkeys(("rank", "relevant", "same_patient", "duplicate"), "integer")},
    )
    query_of = np.searchsorted(paper.query_ids, hits["query_id"])
    same_patient, duplicate = hits["same_patient"] > 0, hits["duplicate"] > 0
    found, warnings = [], []
    for name, leaked in (
        ("without same patient", same_patient),
        ("without duplicates", duplicate),
        ("without both", same_patient | duplicate),
    ):
        values = without(query_of, hits["relevant"], leaked, len(paper.query_ids), n, run.n)
        columns: list[tuple[int, Definition]] = [(size, "paper") for size in n]
        found.append(pair_differences((run.name, paper), (name, replace(paper, values=values)), columns))
        undetermined = int(np.isnan(values[:, -1]).sum())
        told = f"{name}: {int(leaked.sum())} hits of {len(np.unique(query_of[leaked]))} queries are left out"
        if undetermined:
            told += (
                f"; {undetermined} queries then have fewer than {max(n)} hits and count in neither number: retrieve "
                f"again with a larger -n than {run.n} to have them in"
            )
        warnings.append(told)
    if run.exclude_same_patient:
        warnings.append("the run itself was made without hits of the same patient")
    return Comparison(
        (run,),
        len(paper.query_ids),
        len(np.unique(paper.clusters)),
        tuple(difference for differences in found for difference in differences),
        tuple(warnings),
    )


def _definitions(columns: Sequence[Column]) -> list[tuple[int, Definition]]:
    return [(n or 0, "capped" if metric.endswith("_capped") else "paper") for metric, n in columns]


def without(
    query_of: Ids,
    relevant: Ids,
    left_out: np.ndarray[Any, np.dtype[np.bool_]],
    queries: int,
    n: Sequence[int],
    kept: int,
) -> Floats:
    """P@N (queries, len(n)) of hits in order after some are left out; NaN where too few remain to tell.

    `query_of` (h,) is the position of each hit's query. A query with fewer than `kept` hits has no further ones, so
    that missing ones count as not relevant (equation 1 of Denner et al. 2024).
    """
    complete = np.bincount(query_of, minlength=queries) < kept
    query_of, relevant = query_of[~left_out], relevant[~left_out]
    remaining = np.bincount(query_of, minlength=queries)
    rank = np.arange(len(query_of)) - (np.cumsum(remaining) - remaining)[query_of]
    values = np.stack([np.bincount(query_of, relevant * (rank < size), minlength=queries) / size for size in n], axis=1)
    known = complete[:, None] | (remaining[:, None] >= np.asarray(n))
    return np.where(known, values, np.nan)


def pair_differences(
    first: tuple[str, Scores], second: tuple[str, Scores], columns: Sequence[tuple[int, Definition]]
) -> list[Difference]:
    """Micro and macro differences of each column; both sides have the same queries in the same order."""
    (first_name, a), (second_name, b) = first, second
    difference = replace(a, values=a.values - b.values)
    undefined = np.isnan(difference.values)
    sides = [averages_of(replace(each, values=np.where(undefined, np.nan, each.values))) for each in (a, b)]
    found = intervals(difference)
    p = sign_flip(contributions(difference)).reshape(2, -1)
    queries = (~undefined).sum(axis=0)

    def number(values: Floats, at: tuple[int, int]) -> float | None:
        return None if np.isnan(values[at]) else float(values[at])

    return [
        Difference(
            first_name,
            second_name,
            n,
            average,  # type: ignore[arg-type]
            definition,
            int(queries[column]),
            number(sides[0], (row, column)),
            number(sides[1], (row, column)),
            number(found.value[0], (row, column)),
            number(found.low[0], (row, column)),
            number(found.high[0], (row, column)),
            None if np.isnan(found.low[0, row, column]) else float(p[row, column]),
        )
        for row, average in enumerate(AVERAGES)
        for column, (n, definition) in enumerate(columns)
    ]


def averages_of(scores: Scores) -> Floats:
    """Micro and macro (2, m) of all queries, without intervals."""
    sums = Sums.of(scores, np.zeros(len(scores.query_ids), np.int64), 1)
    averages: Floats = sums.averages(sums.clusters[:, None].astype(np.float64))[0, 0]
    return averages


def contributions(scores: Scores) -> Floats:
    """What each cluster adds to the micro (first m columns) and macro averages (clusters, 2 m); they sum up to them."""
    sums = Sums.of(scores, np.zeros(len(scores.query_ids), np.int64), 1)
    number = sums.clusters[sums.kinds][:, None]
    totals = np.add.reduceat(sums.counts * number, np.searchsorted(sums.strata, np.arange(len(sums.groups_of_strata))))
    micro = sums.sums / np.maximum(totals.sum(axis=0), 1)
    macro = sums.sums / np.maximum(totals * (totals > 0).sum(axis=0), 1)[sums.strata]
    added = np.zeros((len(sums.clusters), 2 * sums.sums.shape[1]))
    np.add.at(added, sums.kinds, np.concatenate([micro, macro], axis=1))
    return added[sums.kind_of_clusters]


def sign_flip(added: Floats, *, flips: int = FLIPS, seed: int = SEED) -> Floats:
    """Two-sided p (k,) of sums over clusters `added` (clusters, k), were each row as likely with the other sign."""
    added = added[added.any(axis=1)]
    clusters = len(added)
    total = added.sum(axis=0)
    least = np.abs(total) - 1e-12 * np.abs(added).sum(axis=0)  # sums of the same numbers in another order
    exact = clusters <= _ALL_SIGNS
    count = 2**clusters if exact else flips
    as_far = np.zeros(added.shape[1])
    rng = np.random.default_rng(seed)
    for start in range(0, count, _FLIPS_AT_ONCE):
        size = min(_FLIPS_AT_ONCE, count - start)
        moved = np.zeros((size, added.shape[1]))
        for rows in np.split(added, range(_CLUSTERS_AT_ONCE, clusters, _CLUSTERS_AT_ONCE)):
            signs = (
                np.arange(start, start + size)[:, None] >> np.arange(clusters) & 1
                if exact
                else np.unpackbits(rng.integers(0, 256, (size, -(-len(rows) // 8)), np.uint8), 1, len(rows))
            )
            moved += signs.astype(np.float64) @ rows
        as_far += (np.abs(total - 2 * moved) >= least).sum(axis=0)
    return as_far / count if exact else (as_far + 1) / (count + 1)


def places(values: Sequence[float | None]) -> list[int | None]:
    """1 for the best of several values, 2 for the second best, if it is another number; None for all others."""
    distinct = sorted({value for value in values if value is not None}, reverse=True)
    of = {value: place for place, value in enumerate(distinct[:2], start=1)} if len(values) > 1 else {}
    return [None if value is None else of.get(value) for value in values]


def holm(p: Sequence[float]) -> list[float]:
    """p-values of one family adjusted by Holm's (1979) step-down method, in the order given."""
    order = np.argsort(p, kind="stable")
    stepped = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(each) for each in adjusted]


def _corrected(pairs: Sequence[Sequence[Difference]]) -> tuple[Difference, ...]:
    """All differences with `p_holm`; a family is one number (N, average, definition) over the pairs."""
    adjusted = [list(pair) for pair in pairs]
    for place in range(len(pairs[0])):
        family = [(number, pair[place].p) for number, pair in enumerate(pairs)]
        tested = [(number, p) for number, p in family if p is not None]
        for (number, _), p_holm in zip(tested, holm([p for _, p in tested]), strict=True):
            adjusted[number][place] = replace(adjusted[number][place], p_holm=p_holm)
    return tuple(difference for pair in adjusted for difference in pair)


def _unlike(connection: Connection, runs: Sequence[Run]) -> list[str]:
    """Warnings on how runs were made differently."""
    settings: list[Any] = [connection.execute(query("run_settings"), {"run_id": run.run_id}).fetchone() for run in runs]
    aspects: tuple[tuple[str, Callable[[int], Any]], ...] = (
        ("query filters", lambda i: settings[i][0]),
        ("index filters", lambda i: settings[i][1]),
        ("sizes of the index", lambda i: runs[i].index),
        ("treatments of the same patient (excluded)", lambda i: runs[i].exclude_same_patient),
    )
    warnings = []
    for what, value in aspects:
        values = [value(i) for i in range(len(runs))]
        if any(each != values[0] for each in values):
            shown = ", ".join(f"{run.name} {each}" for run, each in zip(runs, values, strict=True))
            warnings.append(f"{what} differ: {shown}")
    if all(run.index == runs[0].index for run in runs) and any(each[2] != settings[0][2] for each in settings):
        warnings.append("the indexes differ in their images of each class")
    return warnings
