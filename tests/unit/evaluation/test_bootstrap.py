"""Intervals against a plain loop over resamples, printed tables, and the truth of simulated clustered data."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from numpy.random import Generator, default_rng

from medcbir.evaluation.bootstrap import Scores, Sums, intervals, resampled, student_t, tail
from medcbir.evaluation.compare import contributions, sign_flip


def made(rng: Generator, queries: int = 120, clusters: int = 17, classes: int = 5, columns: int = 3) -> Scores:
    values = rng.random((queries, columns))
    values[rng.random((queries, columns)) < 0.2] = np.nan
    return Scores(
        np.arange(queries), rng.integers(-3, clusters - 3, queries), rng.integers(0, classes, queries) * 7, values
    )


def averaged(values: list[float], classes: list[int]) -> tuple[float, float]:
    """Micro and macro by definition, of the defined values."""
    by_class: dict[int, list[float]] = {}
    for value, label in zip(values, classes, strict=True):
        if not np.isnan(value):
            by_class.setdefault(label, []).append(value)
    return float(np.nanmean(values)), float(np.mean([np.mean(each) for each in by_class.values()]))


@pytest.mark.parametrize("grouped", [False, True])
def test_resamples_equal_a_plain_loop_over_drawn_patients(grouped: bool) -> None:
    rng = default_rng(3)
    scores = made(rng)
    groups = scores.classes // 7 % 2 if grouped else np.zeros(120, np.int64)
    sums = Sums.of(scores, groups, int(groups.max()) + 1)
    found = resampled(sums, 20, seed=5)
    names = np.array(list(dict.fromkeys(scores.clusters.tolist())))
    drawing = default_rng(5)
    for resample in found:
        patients = names[drawing.integers(0, len(names), len(names))]
        rows = np.concatenate([np.flatnonzero(scores.clusters == patient) for patient in patients])
        for group in np.unique(groups):
            of_group = rows[groups[rows] == group]
            for column in range(3):
                expected = averaged(scores.values[of_group, column].tolist(), scores.classes[of_group].tolist())
                assert tuple(resample[group, :, column]) == pytest.approx(expected, abs=1e-12)


def test_students_t_and_the_expanded_level_are_those_of_printed_tables() -> None:
    for freedom, printed in ((1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)):
        assert student_t(float(freedom)) == pytest.approx(printed, abs=6e-4)
    # by hand: Phi(-sqrt(10 / 9) 2.262) and Phi(-sqrt(20 / 19) 2.093)
    np.testing.assert_allclose(tail(np.array([9.0, 19.0])), [0.0086, 0.0159], atol=1e-4)


def test_equal_normal_clusters_have_one_degree_less_than_their_number() -> None:
    values = default_rng(0).normal(size=(20_000, 1))
    numbers = np.arange(20_000)
    sums = Sums.of(Scores(numbers, numbers, numbers * 0, values), numbers * 0, 1)
    assert sums.degrees_of_freedom()[0, 0, 0] == pytest.approx(19_999, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_another_one_differs() -> None:
    scores = made(default_rng(1))
    first, again, other = intervals(scores), intervals(scores), intervals(scores, seed=1)
    np.testing.assert_array_equal(first.low, again.low)
    assert (first.low != other.low).any()
    assert (first.low < first.value).all()
    assert (first.value < first.high).all()


def test_no_interval_depends_on_the_ids_of_patients_and_classes() -> None:
    scores = made(default_rng(4), clusters=40)
    one_class = scores.where(np.unique(scores.clusters, return_index=True)[1])  # patients that are alike
    for each in (scores, replace(one_class, values=one_class.values.round())):
        others = replace(each, clusters=100 - each.clusters, classes=each.classes * 5 % 36)
        assert (np.argsort(np.unique(each.classes) * 5 % 36) != np.arange(5)).any()
        for found, expected in zip(astuple(intervals(others)), astuple(intervals(each)), strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(sign_flip(contributions(others)), sign_flip(contributions(each)))


def test_one_cluster_has_no_interval_and_equal_values_an_interval_of_no_width() -> None:
    one = np.zeros(6, np.int64)
    found = intervals(Scores(np.arange(6), one, one, np.arange(6.0)[:, None]))
    assert found.value[0, 0, 0] == 2.5
    assert np.isnan(found.low).all()
    found = intervals(Scores(np.arange(6), np.arange(6), one, np.full((6, 1), 0.5)))
    assert found.low.ravel().tolist() == found.high.ravel().tolist() == [0.5, 0.5]


def test_a_column_without_a_defined_value_has_neither_value_nor_interval() -> None:
    number = np.arange(6)
    found = intervals(Scores(number, number, number % 2, np.stack([number / 6, np.full(6, np.nan)], axis=1)))
    assert np.isnan(found.value[..., 1]).all()
    assert np.isnan(found.low[..., 1]).all()
    assert not np.isnan(found.low[..., 0]).any()


@pytest.mark.parametrize(("clusters", "rate"), [(60, 0.6), (120, 0.85)])
def test_95_of_100_intervals_of_clustered_data_contain_the_truth(clusters: int, rate: float) -> None:
    """Six clinics with 200 collections each: patients of one to many images, one class each, alike within a patient.

    Collections of a clinic, a column each, share how many images patients have, and the resampled patients.
    """
    covered = []
    for clinic in range(6):
        rng = default_rng([11, clinic])
        classes = np.arange(clusters) % 4
        sizes = 1 + rng.poisson(rng.gamma(1.0, 3.0, clusters))
        rates = np.clip(rate + 0.1 * np.array([1.0, 0.5, -0.5, -1.0]), 0, 0.97)
        chance = rng.beta(3 * rates[classes], 3 * (1 - rates[classes]), (200, clusters)).T
        cluster = np.repeat(np.arange(clusters), sizes)
        values = (rng.random((len(cluster), 200)) < chance[cluster]).astype(np.float64)
        found = intervals(Scores(np.arange(len(cluster)), cluster, classes[cluster], values))
        truth = np.array([np.average(rates[classes], weights=sizes), rates.mean()])[:, None]
        covered.append(((found.low[0] <= truth) & (truth <= found.high[0])).mean(axis=1))
    mean = np.mean(covered, axis=0)
    assert ((mean >= 0.93) & (mean <= 0.97)).all(), mean


def test_a_macro_average_of_many_rare_classes_lies_within_its_interval() -> None:
    """Resamples lack a third of the classes of one patient, which are the hardest, and so lie beside it."""
    rng = default_rng(4)
    classes = np.concatenate([np.repeat(np.arange(10), 300), np.arange(10, 150)])
    values = (rng.random((len(classes), 1)) < np.where(classes < 10, 0.9, 0.2)[:, None]).astype(np.float64)
    numbers = np.arange(len(classes))
    scores = Scores(numbers, numbers, classes, values)
    found = intervals(scores)
    value, low, high = (float(each[0, 1, 0]) for each in (found.value, found.low, found.high))
    alone = resampled(Sums.of(scores, numbers * 0, 1), 2000, 0)[:, 0, 1, 0]
    bias = alone.mean() - value
    assert bias > 0.5 * alone.std()
    ends = np.quantile(alone, [0.025, 0.975])
    assert low == pytest.approx(ends[0] - bias, abs=0.1 * bias)
    assert high == pytest.approx(ends[1], abs=0.1 * bias)
    assert low < value < high


def test_no_interval_leaves_the_values_that_there_are() -> None:
    classes = np.concatenate([np.zeros(100, np.int64), np.arange(1, 40)])
    numbers = np.arange(len(classes))
    found = intervals(Scores(numbers, numbers, classes, np.where(classes < 2, 1.0, 0.0)[:, None]))
    assert 0 <= found.low.min() < found.value[0, 1, 0] < found.high.max() <= 1


def test_patients_of_one_kind_are_drawn_as_if_each_were_its_own() -> None:
    """300 patients of one query each, of 12 kinds: values, freedom and interval ends against one row per patient."""
    rng = default_rng(8)
    values = rng.integers(0, 3, (300, 1)) / 2
    classes = rng.integers(0, 4, 300)
    numbers = np.arange(300)
    scores = Scores(numbers, numbers, classes, values)
    sums = Sums.of(scores, numbers * 0, 1)
    assert len(sums.clusters) == len(np.unique(np.stack([classes, values[:, 0]], axis=1), axis=0)) <= 12
    told_apart = Sums.of(Scores(numbers, numbers, classes, values + 1e-13 * numbers[:, None]), numbers * 0, 1)
    assert len(told_apart.clusters) == 300
    np.testing.assert_allclose(sums.degrees_of_freedom(), told_apart.degrees_of_freedom(), rtol=1e-6)
    drawn = np.sort(resampled(sums, 4000, 1)[:, 0, :, 0], axis=0)
    singly = np.sort(resampled(told_apart, 4000, 2)[:, 0, :, 0], axis=0)
    np.testing.assert_allclose(drawn[[100, 2000, 3900]], singly[[100, 2000, 3900]], atol=0.006)
