"""Products in every type: scores within their bound, nothing above a floor lost, integers only if summed exactly."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_sets import CHAINS, MOST, SHAPES, between_integers, chains, cosine, outlying, shaped

from medcbir.encoders.device import full_precision
from medcbir.retrieval import products as products_module
from medcbir.retrieval.bound import pgvector_error
from medcbir.retrieval.hardware import Hardware
from medcbir.retrieval.products import FloatProduct, IntegerProduct, Product, _rotation, products, sums_exactly
from medcbir.store.vectors import unit
from medcbir.types import Vectors

DIMS = [1, 2, 3, 16, 129, 512, 2048]
EACH_PRODUCT = pytest.mark.parametrize("number", range(len(CHAINS)), ids=CHAINS)


def check(queries: Vectors, index: Vectors, product: Product) -> None:
    """Scores are within the bound of the exact cosine, and those that surely reach a floor are found."""
    q, x = product.queries(torch.from_numpy(queries)), product.images(torch.from_numpy(index))
    bound = product.bound(q.spread, x.spread)
    exact = cosine(queries, index)
    error = np.broadcast_to(bound.error, len(queries))
    with full_precision:
        scores = product.scores(q, x).double().cpu().numpy()
        floors = np.median(exact, axis=1)
        found = product.reach(q, x, floors - error)
    allowed = error[:, None] - pgvector_error(queries.shape[1]) + bound.rounding * np.abs(scores)
    assert (np.abs(scores - exact) <= allowed).all()
    rows, columns, values = found
    assert set(zip(*np.nonzero(exact >= floors[:, None]), strict=True)) <= set(zip(rows, columns, strict=True))
    np.testing.assert_allclose(values, scores[rows, columns], rtol=2.0**-22)


@EACH_PRODUCT
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.sampled_from(DIMS), shape=st.sampled_from(SHAPES))
def test_scores_stay_within_the_bound(number: int, seed: int, dim: int, shape: str) -> None:
    stored = unit(shaped(np.random.default_rng(seed), shape, dim))
    check(stored[:8], stored[8:], chains(dim)[number][0])


@EACH_PRODUCT
@pytest.mark.parametrize("make", [between_integers, outlying])
def test_vectors_that_are_hard_to_round_stay_within_the_bound(
    number: int, make: Callable[[np.random.Generator], Vectors]
) -> None:
    stored = unit(make(np.random.default_rng(0)))
    check(stored[:50], stored[50:], chains(stored.shape[1])[number][0])


@EACH_PRODUCT
def test_vectors_that_are_no_unit_vectors_stay_within_the_bound(number: int) -> None:
    stored = unit(np.random.default_rng(1).normal(size=(40, 64))) * np.linspace(0.7, 1.4, 40, dtype=np.float32)[:, None]
    check(stored[:8], stored[8:], chains(64)[number][0])


def test_the_bound_of_integers_is_not_idle() -> None:
    """Vectors that all lose half a unit, in the direction of each other: a bound much smaller would be wrong."""
    rotated = np.full((2, 64), 100.5 - 1e-3)
    rotated[:, 0] = 127
    vectors = unit(rotated @ _rotation(64).double().numpy().T)
    product = IntegerProduct(64, 127)
    q, x = product.queries(torch.from_numpy(vectors[:1])), product.images(torch.from_numpy(vectors[1:]))
    lost = abs(float(product.scores(q, x)) - cosine(vectors[:1], vectors[1:])[0, 0])
    error = float(np.max(product.bound(q.spread, x.spread).error))
    assert 0.9 * error < lost < error


@pytest.mark.parametrize("dim", [1, 6, 48, 64, 512, 768])
def test_the_rotation_is_orthogonal_and_exact(dim: int) -> None:
    rotation = _rotation(dim).double().numpy()
    assert dim % len(rotation) == 0
    assert np.array_equal(rotation @ rotation.T, np.eye(len(rotation)))


@pytest.mark.parametrize("seed", range(3))
def test_no_component_stands_out_after_the_rotation(seed: int) -> None:
    """Of vectors with a few very large ones, and of constant vectors, which plain Hadamard matrices make one peak."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(500, 512))
    vectors[:, rng.integers(0, 512, 3)] += 30
    for hard in (vectors, np.ones((1, 512)) + 1e-3 * vectors):
        factor = IntegerProduct(512, 127).images(torch.from_numpy(unit(hard)))
        assert float(factor.spread.residual) < 0.015


@pytest.mark.parametrize("most", MOST)
def test_integers_are_summed_exactly_here(most: int) -> None:
    assert all(sums_exactly(IntegerProduct(dim, most)) for dim in (1, 7, 64, 512, 2048))


def test_a_machine_that_sums_in_16_bits_gets_smaller_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libraries do on processors without instructions for it: the first factor moved to 0 to 255, pairs saturate."""

    def saturating(images: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        left, right = images.numpy().astype(np.int64) + 128, queries.numpy().astype(np.int64)
        total = -128 * right.sum(axis=0)[None, :].repeat(len(left), axis=0)
        for at in range(0, left.shape[1], 2):
            total += np.clip(left[:, at : at + 2] @ right[at : at + 2], -(2**15), 2**15 - 1)
        return torch.from_numpy(total.astype(np.int32))

    monkeypatch.setattr(torch, "_int_mm", saturating)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(products_module, "_worth", lambda integers, floats: True)
    assert not sums_exactly(IntegerProduct(16, 127))
    chosen = products.__wrapped__(16)[0]
    assert isinstance(chosen, IntegerProduct)
    assert chosen.most == 64


@pytest.mark.parametrize("fault", [AttributeError, RuntimeError, NotImplementedError])
def test_without_products_of_integers_floats_are_used(fault: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: torch.Tensor) -> torch.Tensor:
        raise fault

    monkeypatch.setattr(torch, "_int_mm", missing)
    chosen = products.__wrapped__(64)
    assert all(isinstance(product, FloatProduct) for product in chosen)
    assert chosen[-1].name.endswith("float32")


@pytest.mark.parametrize("worth", [False, True])
def test_integers_are_used_where_they_are_faster(worth: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(products_module, "_GAIN", 1e9 if worth else 0.0)
    monkeypatch.setattr(products_module, "fastest", lambda dim: Hardware("cpu", torch.float32))
    names = [product.name for product in products.__wrapped__(64)]
    assert names == (["cpu int8", "cpu float32"] if worth else ["cpu float32"])
