"""A query of several parts: the normalised weighted sum of unit vectors."""

import numpy as np
import pytest

from medcbir.errors import InputError, VectorError
from medcbir.retrieval.search import combine

PARTS = np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float32)


def test_parts_are_summed_by_weight_and_normalised():
    np.testing.assert_allclose(combine(PARTS), np.array([1, 0.6, 0.8]) / np.sqrt(2), atol=1e-7)
    np.testing.assert_allclose(combine(PARTS, [3, 4]), [0.6, 0.48, 0.64], atol=1e-7)
    np.testing.assert_allclose(combine(PARTS, [0, 2]), PARTS[1], atol=1e-7)


def test_the_order_is_that_of_the_weighted_mean_similarity():
    rng = np.random.default_rng(0)
    parts, index = rng.normal(size=(3, 8)), rng.normal(size=(50, 8))
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    weights = [0.5, 2.0, -1.0]
    expected = sum(w * (index @ part) for w, part in zip(weights, parts, strict=True))
    whole = combine(parts.astype(np.float32), weights)
    assert np.argsort(index @ whole).tolist() == np.argsort(expected).tolist()


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="2 parts of the query and 1 weights"):
        combine(PARTS, [1])
    with pytest.raises(InputError, match="finite"):
        combine(PARTS, [1, float("nan")])
    with pytest.raises(VectorError, match="cancel each other"):
        combine(PARTS[[0, 0]], [1, -1])
