"""Intervals of averages over queries, by resampling whole patients.

Images of one patient resemble each other, so queries are no independent sample: the patient is (Field and Welsh 2007,
"Bootstrapping clustered data", JRSS B 69). A resample draws as many patients as there are, with replacement, each with
all of its queries. An average needs no more of a patient than the sums of its queries' values by class, so a resample
is a product of those sums and how often patients of each kind are drawn.

The interval is the percentile interval, expanded for a finite number of clusters (Hesterberg 2015, "What teachers
should know about the bootstrap"): quantiles are taken at Phi(-sqrt((f + 1) / f) t_f) instead of Phi(-z). f is
Satterthwaite's (1946) number of degrees of freedom, which unequal clusters make smaller than their number less one.
Macro averages of resamples have a bias (Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 10):
classes of few patients are missing from many of them, and are not the easiest. The interval is wider by it on the side
from which it has moved them.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from medcbir.evaluation.numbering import Ids, by_appearance

Floats = npt.NDArray[np.float64]

AVERAGES = ("micro", "macro")
"""What the second axis of every result holds."""

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
_NUMBERS = 1 << 22  # multiplicities, or sums of strata, held at a time
_ANGLES = 1 << 14


@dataclass(frozen=True, slots=True)
class Scores:
    """Values of q queries in m columns: `values` (q, m) float64, NaN where undefined, whatever the metric.

    `clusters` (q,) are the units that are sampled (patients), `classes` (q,) those that macro averages go over.
    """

    query_ids: Ids
    clusters: Ids
    classes: Ids
    values: Floats

    def where(self, chosen: npt.NDArray[np.bool_] | Ids) -> "Scores":
        """The queries that a mask (q,) or positions (k,) choose."""
        return Scores(self.query_ids[chosen], self.clusters[chosen], self.classes[chosen], self.values[chosen])


@dataclass(frozen=True, slots=True)
class Estimates:
    """An average and its 95 % interval, each (g, 2, m): group, micro and macro, column; NaN where there is none."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Sums:
    """Scores summed by cell, which is a cluster's queries of one class in one group; strata are a group's classes.

    Clusters that cannot be told apart are one kind: those of one cell alone with the same stratum and sums. A resample
    is then how often each kind is drawn, and most collections have few kinds. `kinds` (cells,) and `strata` (cells,)
    say whose cell it is, sorted by stratum, strata by group; `sums` and `counts` (cells, m) are of defined values, of
    one cluster. `kind_of_clusters` (clusters,) has the kind of each cluster, in the order in which they
    first occur.
    """

    kinds: Ids
    strata: Ids
    groups_of_strata: Ids
    sums: Floats
    counts: Floats
    kind_of_clusters: Ids
    group_count: int

    @staticmethod
    def of(scores: Scores, groups: Ids, group_count: int) -> "Sums":
        """`groups` (q,) number each query's group, from 0 to `group_count` - 1; each has a query."""
        names, clusters = by_appearance(scores.clusters)
        labels, classes = by_appearance(scores.classes)
        strata, stratum_of = np.unique(groups * len(labels) + classes, return_inverse=True)
        cells, cell_of = np.unique(stratum_of * len(names) + clusters, return_inverse=True)
        defined = ~np.isnan(scores.values)

        def summed(columns: npt.NDArray[np.generic]) -> Floats:
            return np.stack([np.bincount(cell_of, column, len(cells)) for column in columns.T], axis=1)

        cluster, stratum = cells % len(names), cells // len(names)
        sums, counts = summed(np.where(defined, scores.values, 0.0)), summed(defined.astype(np.float64))
        alone = np.bincount(cluster)[cluster] == 1
        alike = _equal_rows(np.concatenate([stratum[:, None], sums, counts], axis=1))
        of_cells = np.where(alone, alike, len(cells) + cluster)
        found, first, kinds = np.unique(of_cells, return_index=True, return_inverse=True)
        kind_of_clusters = np.empty(len(names), np.int64)
        kind_of_clusters[cluster] = kinds
        kept = ~alone
        kept[first[found < len(cells)]] = True
        return Sums(
            kinds=kinds[kept],
            strata=stratum[kept],
            groups_of_strata=strata // len(labels),
            sums=sums[kept],
            counts=counts[kept],
            kind_of_clusters=kind_of_clusters,
            group_count=group_count,
        )

    @property
    def clusters(self) -> Ids:
        """How many clusters are of each kind (kinds,)."""
        return np.bincount(self.kind_of_clusters)

    def extremes(self) -> tuple[Floats, Floats]:
        """The least and the greatest mean of a cell in each group (g, m), between which all averages lie."""
        with np.errstate(invalid="ignore"):
            means = self.sums / self.counts
        first = np.searchsorted(self.groups_of_strata[self.strata], np.arange(self.group_count))
        return np.fmin.reduceat(means, first), np.fmax.reduceat(means, first)

    def averages(self, weights: Floats) -> Floats:
        """Micro and macro (b, g, 2, m) of b resamples, `weights` (kinds, b) saying how many clusters of each kind.

        A class without a defined value in a resample is left out of its macro average; NaN where nothing is left.
        """
        columns = self.sums.shape[1]
        both = np.concatenate([self.sums, self.counts], axis=1)
        ends = np.searchsorted(self.strata, np.arange(len(self.groups_of_strata) + 1))
        totals = np.stack(
            [weights[self.kinds[first:last]].T @ both[first:last] for first, last in pairwise(ends)],
            axis=1,
        )
        starts = np.searchsorted(self.groups_of_strata, np.arange(self.group_count))
        of_groups = np.add.reduceat(totals, starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            micro = of_groups[..., :columns] / of_groups[..., columns:]
            means = totals[..., :columns] / totals[..., columns:]
            defined = ~np.isnan(means)
            sums = np.add.reduceat(np.where(defined, means, 0.0), starts, axis=1)
            macro = sums / np.add.reduceat(defined.astype(np.float64), starts, axis=1)
        averages: Floats = np.stack([micro, macro], axis=2)
        return averages

    def degrees_of_freedom(self) -> Floats:
        """Satterthwaite's (g, 2, m), from what each cluster adds to an average; 0 for a group of one cluster.

        The variance is estimated by the sum of squares of what c clusters add; the variance of that estimate by their
        fourth powers. Two times the square of the one by the other is c - 1 for normal values, and never more here.
        """
        sizes = self.clusters
        starts = np.searchsorted(self.groups_of_strata, np.arange(self.group_count))
        edges = np.searchsorted(self.strata, np.arange(len(self.groups_of_strata)))
        number = sizes[self.kinds][:, None]
        sums, counts = np.add.reduceat(self.sums * number, edges), np.add.reduceat(self.counts * number, edges)
        with np.errstate(invalid="ignore", divide="ignore"):
            group_counts = np.add.reduceat(counts, starts)[self.groups_of_strata]
            micro = np.add.reduceat(sums, starts)[self.groups_of_strata] / group_counts
            classes = np.add.reduceat((counts > 0).astype(np.float64), starts)[self.groups_of_strata]
            of = self.strata
            added = np.stack(
                [
                    (self.sums - micro[of] * self.counts) / group_counts[of],
                    (self.sums - (sums / counts)[of] * self.counts) / (counts * classes)[of],
                ],
                axis=1,
            )
        keys, pair_of = np.unique(self.groups_of_strata[of] * len(sizes) + self.kinds, return_inverse=True)
        pairs = np.zeros((len(keys), *added.shape[1:]))
        np.add.at(pairs, pair_of, np.nan_to_num(added))
        first = np.searchsorted(keys, np.arange(self.group_count) * len(sizes))
        number = sizes[keys % len(sizes)]
        clusters = np.add.reduceat(number, first)[:, None, None]
        number = number[:, None, None]
        squares, fourths = np.add.reduceat(number * pairs**2, first), np.add.reduceat(number * pairs**4, first)
        variance = fourths - squares**2 / clusters
        found = np.divide(2 * squares**2, variance, out=np.full_like(squares, np.inf), where=variance > 1e-12 * fourths)
        freedom: Floats = np.where(clusters > 1, np.clip(found, 1.0, np.maximum(clusters - 1, 1)), 0.0)
        return freedom


def intervals(scores: Scores, groups: Ids | None = None, *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimates:
    """Micro and macro averages of every column with their 95 % intervals, within each group.

    `groups` (q,) number the group of each query from 0 on without a gap; all are one without it. An average over one
    cluster has no interval.
    """
    if groups is None:
        groups = np.zeros(len(scores.query_ids), np.int64)
    sums = Sums.of(scores, groups, int(groups.max()) + 1)
    value = sums.averages(sums.clusters[:, None].astype(np.float64))[0]
    drawn = resampled(sums, resamples, seed)
    level = tail(sums.degrees_of_freedom())
    least, most = sums.extremes()
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    for place in zip(*np.nonzero(~np.isnan(level) & ~np.isnan(value)), strict=True):
        found = drawn[(slice(None), *place)]
        found = found[~np.isnan(found)]
        low[place], high[place] = np.quantile(found, [level[place], 1 - level[place]])
        group, average, column = place
        if AVERAGES[average] == "macro":
            bias = found.mean() - value[place]
            low[place] = max(low[place] - max(bias, 0.0), least[group, column])
            high[place] = min(high[place] - min(bias, 0.0), most[group, column])
    return Estimates(value, low, high)


def resampled(sums: Sums, resamples: int, seed: int) -> Floats:
    """Micro and macro of each resample (resamples, g, 2, m)."""
    rng = np.random.default_rng(seed)
    kinds = np.sort(sums.kind_of_clusters).astype(np.int32)
    count, kind_count = len(kinds), int(kinds[-1]) + 1
    largest = max(kind_count, 2 * sums.sums.shape[1] * len(sums.groups_of_strata))
    at_once = max(1, min(resamples, _NUMBERS // largest))
    parts = []
    for start in range(0, resamples, at_once):
        drawn = [
            np.bincount(kinds[rng.integers(0, count, count, dtype=np.uint32)], minlength=kind_count)
            for _ in range(min(at_once, resamples - start))
        ]
        parts.append(sums.averages(np.stack(drawn, axis=1).astype(np.float64)))
    return np.concatenate(parts)


def _equal_rows(rows: Floats) -> Ids:
    """A number (n,) for each row of (n, k), the same for rows of the same bits."""
    packed = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
    return np.unique(packed, return_inverse=True)[1]


def tail(freedom: Floats) -> Floats:
    """The share of resamples outside each end of an interval, for degrees of freedom of any shape; NaN for 0."""
    normal = NormalDist()
    levels = [
        normal.cdf(-np.sqrt((each + 1) / each) * student_t(round(each, 2))) if each > 0 else np.nan
        for each in freedom.ravel().tolist()
    ]
    return np.reshape(levels, freedom.shape)


@cache
def student_t(freedom: float) -> float:
    """Student's t that leaves 1 - `CONFIDENCE` outside its two ends; `freedom` > 0 need not be whole.

    With t = sqrt(f) tan(angle) the density is proportional to cos(angle)^(f - 1): its integral is summed up.
    """
    edges = np.linspace(0, np.pi / 2, _ANGLES + 1)
    heights = np.cos((edges[1:] + edges[:-1]) / 2) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum(heights)])
    angle = np.interp(CONFIDENCE * mass[-1], mass, edges)
    return float(np.sqrt(freedom) * np.tan(angle))
