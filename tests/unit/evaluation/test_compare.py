"""Paired tests against enumeration, a hand-worked example and data without a difference."""

import itertools

import numpy as np
import pytest
from numpy.random import default_rng

from medcbir.evaluation.bootstrap import Scores
from medcbir.evaluation.compare import (
    Difference,
    averages_of,
    contributions,
    holm,
    pair_differences,
    places,
    sign_flip,
)


def test_holm_by_hand() -> None:
    # Holm (1979): sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04; never less than before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_best_and_second_best_are_by_value_and_shared_by_equals() -> None:
    assert places([0.2, 0.5, 0.5, 0.4, None]) == [None, 1, 1, 2, None]
    assert places([0.7]) == [None]


def test_a_difference_turned_round_is_that_of_the_second_less_the_first() -> None:
    one = Difference("a", "b", 1, "micro", "paper", 9, 0.7, 0.5, 0.2, 0.1, 0.3, 0.01, p_holm=0.02, overlap=0.4)
    other = Difference("b", "a", 1, "micro", "paper", 9, 0.5, 0.7, -0.2, -0.3, -0.1, 0.01, p_holm=0.02, overlap=0.4)
    assert (one.turned(), other.turned()) == (other, one)
    assert one.significant
    nothing = Difference("a", "b", 1, "micro", "paper", 0, None, None, None, None, None, None)
    assert nothing.turned().turned() == nothing
    assert not nothing.significant


@pytest.mark.parametrize("seed", range(4))
def test_p_of_few_patients_is_that_of_all_sign_changes(seed: int) -> None:
    rng = default_rng(seed)
    clusters = np.repeat(np.arange(9), rng.integers(1, 5, 9))
    classes = rng.integers(0, 3, len(clusters))
    values = rng.integers(-3, 4, (len(clusters), 1)) / 3
    values[rng.random(len(clusters)) < 0.1] = np.nan
    scores = Scores(np.arange(len(clusters)), clusters, classes, values)
    observed = averages_of(scores)[0, :, 0]
    as_far = np.zeros(2)
    for signs in itertools.product((-1.0, 1.0), repeat=9):
        changed = Scores(scores.query_ids, clusters, classes, values * np.array(signs)[clusters, None])
        as_far += np.abs(averages_of(changed)[0, :, 0]) >= np.abs(observed) - 1e-9
    np.testing.assert_allclose(sign_flip(contributions(scores)), as_far / 2**9)
    np.testing.assert_allclose(contributions(scores).sum(axis=0), observed)


def test_sampled_signs_come_near_all_signs() -> None:
    added = default_rng(0).normal(0.25, 1, (13, 3))
    padded = np.concatenate([added, np.full((1, 3), 1e-9)])  # one cluster too many for all signs
    np.testing.assert_allclose(sign_flip(padded), sign_flip(added), atol=0.015)


def test_p_without_any_difference_is_1() -> None:
    assert sign_flip(np.zeros((5, 2))).tolist() == [1.0, 1.0]


def test_5_of_100_comparisons_of_equals_are_significant_at_5_percent() -> None:
    """1,000 pairs of runs without a difference, over 40 patients whose queries go alike; each pair is a column."""
    rng = default_rng(2)
    clusters = np.repeat(np.arange(40), 1 + rng.poisson(3, 40))
    chance = rng.beta(2, 2, (40, 1000))[clusters]
    shared = rng.random((40, 2, 1000)) < 0.5  # a patient's own preference for one of the runs
    sides = [(rng.random(chance.shape) < np.clip(chance + 0.2 * shared[clusters, side], 0, 1)) * 1.0 for side in (0, 1)]
    classes = clusters % 3
    p = sign_flip(contributions(Scores(np.arange(len(clusters)), clusters, classes, sides[0] - sides[1])), flips=2000)
    for rate in (p.reshape(2, -1) < 0.05).mean(axis=1):
        assert 0.03 <= rate <= 0.07


def test_both_sides_are_averaged_over_queries_that_have_a_value_in_both() -> None:
    numbers = np.arange(4)
    first = Scores(numbers, numbers, numbers * 0, np.array([[1.0], [0.0], [np.nan], [1.0]]))
    second = Scores(numbers, numbers, numbers * 0, np.array([[0.0], [0.0], [1.0], [np.nan]]))
    micro, macro = pair_differences(("a", first), ("b", second), [("precision", 1, "paper")])
    assert (micro.queries, micro.first_value, micro.second_value, micro.difference) == (2, 0.5, 0.0, 0.5)
    assert (macro.average, macro.difference, micro.p) == ("macro", 0.5, 1.0)
