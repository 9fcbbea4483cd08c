"""Runs compared query by query, and a run with itself without the hits that leak.

Both sides answer the same queries, so what counts is the difference of each query's value. Its average has an interval
by resampling patients (`bootstrap`) and a p-value by Fisher's randomisation: were the runs alike, each patient's
differences could as well have the other sign. All signs are tried where patients are few; else a sample, counted with
the observed one (Phipson and Smyth 2010). Randomisation is what Smucker, Allan and Carterette (2007) recommend for
retrieval. Holm (1979) corrects for the number of pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from psycopg import sql

from medcbir.errors import InputError, RunError
from medcbir.evaluation.bootstrap import AVERAGES, SEED, Floats, Scores, Sums, intervals
from medcbir.evaluation.metrics import Facet, wanted_facets, wanted_metrics
from medcbir.evaluation.numbering import Ids
from medcbir.evaluation.scores import Column, Leaks, divide, read_scores
from medcbir.store.binary_copy import copy_arrays
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Average, Definition, Run

FLIPS = 10_000
"""Random signs tried where all are too many; the smallest p is then 1 / (`FLIPS` + 1)."""

LEVEL = 0.05
"""Of significance, after Holm's correction."""

_ALL_SIGNS = 13  # clusters up to which all signs are fewer than `FLIPS`
_FLIPS_AT_ONCE, _CLUSTERS_AT_ONCE = 1 << 10, 1 << 11  # 16 MiB of signs


Measure = tuple[str, int | None, Definition | None]
"""A metric, N where it depends on it, and its definition where it has several."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A number of `first` less that of `second`, over `queries` where both have one; `p_holm` is over all pairs.

    Over all queries, or those of one group (`group`, and `second_group` of two facets). `n` and `definition` are those
    of `Metric`. `overlap` is the mean share of the first N hits that both runs return, over all queries compared (view
    agreement_query). `seen`, where a run is compared with itself: whether its encoder was trained on a dataset that
    queries are of; None where nobody knows. Values are None where no query has one; the interval and p also where all
    queries are of one patient.
    """

    first: str
    second: str
    n: int | None
    average: Average
    definition: Definition | None
    queries: int
    first_value: float | None
    second_value: float | None
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None = None
    overlap: float | None = None
    metric: str = "precision"
    group: str | None = None
    second_group: str | None = None
    seen: bool | None = None

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


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of queries, each named by up to two facets, and the number (q,) of each query's; each has a query."""

    names: list[tuple[str | None, str | None]]
    numbers: Ids

    @staticmethod
    def of(connection: Connection, scores: Scores, datasets: Ids, facets: Sequence[Facet]) -> "Groups":
        """Those of the facets together, all queries as one without any."""
        names, numbers = divide(connection, scores, datasets, facets)
        return Groups([(each[0] if each else None, each[1] if len(each) > 1 else None) for each in names], numbers)

    @staticmethod
    def one(scores: Scores) -> "Groups":
        """All queries."""
        return Groups([(None, None)], np.zeros(len(scores.query_ids), np.int64))


def compare(
    connection: Connection,
    runs: Sequence[Run],
    n: Sequence[int],
    *,
    metric: str | Sequence[str] = "precision",
    by: Facet | Sequence[Facet] | None = None,
) -> Comparison:
    """Every pair of `runs`, on the queries that all of them answered with the same class.

    `metric` and `by` choose as for `evaluate`. Raises `InputError` for fewer than two runs or one named twice, an
    unknown metric or facet, `RunError` where no query is common to them.
    """
    if len(runs) < 2 or len({run.run_id for run in runs}) < len(runs):
        raise InputError("give two or more different runs to compare; `--leakage` compares one with itself")
    names, facets = wanted_metrics(connection, metric), wanted_facets(by)
    read = [read_scores(connection, run, list(names), n) for run in runs]
    scores, measures = [found[0] for found in read], _measures(read[0][1], names)
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
    datasets = read[0][2][np.isin(keys[0], common)]
    scores = [each.where(np.isin(own, common)) for each, own in zip(scores, keys, strict=True)]
    groups = Groups.of(connection, scores[0], datasets, facets)
    found = []
    for (first, of_first), (second, of_second) in combinations(zip(runs, scores, strict=True), 2):
        overlaps = _overlaps(connection, (first, second), n, of_first.query_ids, groups)
        differences = pair_differences((first.name, of_first), (second.name, of_second), measures, groups)
        found.append(
            [replace(each, overlap=overlaps.get((each.n, each.group, each.second_group))) for each in differences]
        )
    return Comparison(tuple(runs), len(common), len(np.unique(scores[0].clusters)), _corrected(found), tuple(warnings))


def leakage(
    connection: Connection,
    run: Run,
    n: Sequence[int],
    within: float,
    *,
    metric: str | Sequence[str] = "precision",
    by: Facet | Sequence[Facet] | None = None,
    seen: Sequence[str] | None = None,
) -> Comparison:
    """A run with all its hits, against itself without those of the query's patient, duplicates, and both.

    A duplicate has the query's pixels, or a distance of at most `within`. Further hits move up, so a query needs more
    hits than N; one that runs out of them has no value, and is left out and counted in the warnings (function
    evaluation_query_without). `metric` and `by` as evaluate; `seen` are the datasets that the encoder was trained on,
    None where nobody knows. Raises `InputError` for an unknown metric or facet, `RunError` without labelled queries.
    """
    names, facets = wanted_metrics(connection, metric), wanted_facets(by)
    whole, columns, datasets = read_scores(connection, run, list(names), n)
    if not len(whole.query_ids):
        raise RunError(f"run {run.name} has no query with exactly one label, so there is nothing to compare")
    measures = _measures(columns, names)
    groups = Groups.of(connection, whole, datasets, facets)
    known = _seen(connection, datasets, groups, seen)
    found, warnings = [], []
    variants: tuple[tuple[str, Leaks], ...] = (
        ("without same patient", (True, None)),
        ("without duplicates", (False, within)),
        ("without both", (True, within)),
    )
    for name, leaks in variants:
        left = read_scores(connection, run, list(names), n, without=leaks)[0]
        differences = pair_differences((run.name, whole), (name, left), measures, groups)
        found += [replace(each, seen=known[each.group, each.second_group]) for each in differences]
        warnings.append(_told(connection, run, name, leaks, max(n)))
    if run.exclude_same_patient:
        warnings.append("the run itself was made without hits of the same patient")
    patients = len(np.unique(whole.clusters))
    return Comparison((run,), len(whole.query_ids), patients, tuple(found), tuple(warnings))


def _measures(columns: Sequence[Column], names: Mapping[str, tuple[str, Definition | None]]) -> list[Measure]:
    return [(names[view][0], n, names[view][1]) for view, n in columns]


def _told(connection: Connection, run: Run, name: str, leaks: Leaks, n: int) -> str:
    """How much is left out, and for how many queries the rest is not known."""
    same_patient, within = leaks
    arguments = {"run_id": run.run_id, "same_patient": same_patient, "within": within, "n": n}
    row = connection.execute(query("leaks"), arguments).fetchone()
    assert row is not None  # noqa: S101
    hits, queries, undetermined = row
    told = f"{name}: {hits} hits of {queries} queries are left out"
    if undetermined:
        told += (
            f"; {undetermined} queries then have fewer than {n} hits and count in neither number: retrieve again with "
            f"a larger -n than {run.n} to have them in"
        )
    return told


def _overlaps(
    connection: Connection, pair: tuple[Run, Run], n: Sequence[int], query_ids: Ids, groups: Groups
) -> dict[tuple[int | None, str | None, str | None], float]:
    """Mean overlap of the queries of each group, by N and the group's names."""
    arguments = {"first_run_id": pair[0].run_id, "second_run_id": pair[1].run_id, "n": list(n)}
    ids, found = copy_arrays(connection, sql.SQL(query("overlaps")), arguments, len(n))
    overlaps = found[np.searchsorted(ids, query_ids)]
    return {
        (size, *names): float(overlaps[groups.numbers == number, column].mean())
        for number, names in enumerate(groups.names)
        for column, size in enumerate(n)
    }


def _seen(
    connection: Connection, datasets: Ids, groups: Groups, seen: Sequence[str] | None
) -> dict[tuple[str | None, str | None], bool | None]:
    """Whether a dataset of each group's queries is among those `seen`."""
    if seen is None:
        return dict.fromkeys(groups.names)
    rows = connection.execute("SELECT dataset_id FROM dataset WHERE name = any(%s)", (list(seen),)).fetchall()
    of_seen = np.isin(datasets, [dataset_id for (dataset_id,) in rows])
    return {names: bool(of_seen[groups.numbers == number].any()) for number, names in enumerate(groups.names)}


def pair_differences(
    first: tuple[str, Scores], second: tuple[str, Scores], measures: Sequence[Measure], groups: Groups | None = None
) -> list[Difference]:
    """Micro and macro differences of each column, which `measures` name, within each group.

    Both sides have the same queries in the same order.
    """
    (first_name, a), (second_name, b) = first, second
    groups = groups or Groups.one(a)
    difference = replace(a, values=a.values - b.values)
    undefined = np.isnan(difference.values)
    sides = [
        averages_of(replace(each, values=np.where(undefined, np.nan, each.values)), groups.numbers) for each in (a, b)
    ]
    found = intervals(difference, groups.numbers)

    def number(values: Floats, at: tuple[int, int, int]) -> float | None:
        return None if np.isnan(values[at]) else float(values[at])

    differences = []
    for place, (group, second_group) in enumerate(groups.names):
        members = difference.where(groups.numbers == place)
        p = sign_flip(contributions(members)).reshape(2, -1)
        queries = (~np.isnan(members.values)).sum(axis=0)
        differences += [
            Difference(
                first_name,
                second_name,
                n,
                average,  # type: ignore[arg-type]
                definition,
                int(queries[column]),
                number(sides[0], (place, row, column)),
                number(sides[1], (place, row, column)),
                number(found.value, (place, row, column)),
                number(found.low, (place, row, column)),
                number(found.high, (place, row, column)),
                None if np.isnan(found.low[place, row, column]) else float(p[row, column]),
                metric=metric,
                group=group,
                second_group=second_group,
            )
            for row, average in enumerate(AVERAGES)
            for column, (metric, n, definition) in enumerate(measures)
        ]
    return differences


def averages_of(scores: Scores, groups: Ids | None = None) -> Floats:
    """Micro and macro (g, 2, m) within each group, of which `groups` (q,) has the numbers, without intervals."""
    if groups is None:
        groups = np.zeros(len(scores.query_ids), np.int64)
    sums = Sums.of(scores, groups, int(groups.max()) + 1)
    averages: Floats = sums.averages(sums.clusters[:, None].astype(np.float64))[0]
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
