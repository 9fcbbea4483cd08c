"""The rounding bound holds: property tests and vectors made to break it, against exact cosines and pgvector's order."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_sets import DEVICES, HARDWARE, SHAPES, cosine, shaped

from medcbir.encoders.device import full_precision
from medcbir.retrieval import hardware as hardware_module
from medcbir.retrieval.bound import ACCUMULATION, FLOAT32, Bound, Spread, gamma, pgvector_error, score_bound
from medcbir.retrieval.hardware import Hardware, at_least, fastest, sums_as_assumed
from medcbir.store.vectors import unit
from medcbir.types import Vectors

EACH_HARDWARE = pytest.mark.parametrize(
    "hardware", [*HARDWARE, Hardware("cpu", torch.float16)], ids=lambda each: each.name
)


def pgvector_similarity(q: Vectors, x: Vectors, order: npt.NDArray[np.intp]) -> float:
    """pgvector's cosine similarity of two vectors, its float32 sums taken one after another in `order`."""
    dot = norm_q = norm_x = np.float32(0)
    for i in order:
        dot += q[i] * x[i]
        norm_q += q[i] * q[i]
        norm_x += x[i] * x[i]
    return float(np.clip(np.float64(dot) / np.sqrt(np.float64(norm_q) * np.float64(norm_x)), -1, 1))


def bound_of(queries: Vectors, index: Vectors, hardware: Hardware) -> tuple[Bound, torch.Tensor]:
    q, x = torch.from_numpy(queries), torch.from_numpy(index)
    low_q, low_x = hardware.lowered(q), hardware.lowered(x)
    bound = score_bound(
        queries.shape[1],
        hardware.spread(q, low_q),
        hardware.spread(x, low_x),
        step=ACCUMULATION,
        rounding=hardware.rounding,
        smallest=hardware.smallest,
    )
    if hardware.dtype == torch.float16:  # the products of a matrix with one vector, which alone are used
        return bound, torch.stack([low_x @ row for row in low_q])
    with full_precision:
        return bound, (low_q @ low_x.T).cpu()


def check(queries: Vectors, index: Vectors, hardware: Hardware) -> None:
    """Scores are within the bound of the exact cosine, the worst of pgvector's own error left over."""
    bound, scores = bound_of(queries, index, hardware)
    wide = scores.double().numpy()
    allowed = bound.error - pgvector_error(queries.shape[1]) + bound.rounding * np.abs(wide)
    assert (np.abs(wide - cosine(queries, index)) <= allowed).all()


def aligned(dim: int, *, up: bool) -> Vectors:
    """Components just beside a rounding boundary of bfloat16, so that every one loses half a unit in one direction."""
    value = np.float32(1 + 2.0**-8 + (2.0**-20 if up else -(2.0**-20)))
    vector = np.full((1, dim), value, dtype=np.float32)
    return vector / np.float32(2 ** round(np.log2(np.sqrt(dim))))


@EACH_HARDWARE
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([1, 2, 3, 16, 129, 512, 2048]),
    shape=st.sampled_from(SHAPES),
)
def test_scores_stay_within_the_bound(hardware: Hardware, seed: int, dim: int, shape: str) -> None:
    stored = unit(shaped(np.random.default_rng(seed), shape, dim))
    check(stored[:8], stored[8:], hardware)


@EACH_HARDWARE
@pytest.mark.parametrize("dim", [4, 64, 256, 1024, 4096])
def test_errors_that_all_point_one_way_stay_within_the_bound(hardware: Hardware, dim: int) -> None:
    """Norms up to 1.4 as well: what the norms are not is part of the bound."""
    up, down = aligned(dim, up=True), aligned(dim, up=False)
    signs = np.where(np.arange(dim) % 2, -1, 1).astype(np.float32)
    index = np.concatenate([up, down, -up, up * signs, unit(up), unit(down + up * signs)])
    check(np.concatenate([up, down, unit(down)]), index, hardware)


def test_the_bound_is_not_idle() -> None:
    """Aligned errors reach a good part of it: a bound much smaller would be wrong."""
    queries = aligned(256, up=True)
    bound, scores = bound_of(queries, queries, Hardware("cpu", torch.bfloat16))
    lost = abs(float(scores.double()) - float(cosine(queries, queries)[0, 0] * (queries.astype(np.float64) ** 2).sum()))
    assert lost > 0.5 * 2 * 2.0**-8
    assert lost < bound.error + bound.rounding * float(scores)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.sampled_from([1, 7, 64, 512]), spread=st.floats(0, 1))
def test_pgvector_itself_stays_within_its_bound_in_any_order(seed: int, dim: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=dim)
    q, x = unit(np.stack([base, base + spread * rng.normal(size=dim)]))
    exact = cosine(q[None], x[None])[0, 0]
    by_size = np.argsort(np.abs(q))
    for order in (np.arange(dim), by_size, by_size[::-1], rng.permutation(dim)):
        assert abs(pgvector_similarity(q, x, order) - exact) <= pgvector_error(dim)


def test_one_after_another_nearly_reaches_the_bound_of_a_sum() -> None:
    """A large first term, then terms that are lost by just over half a unit each: the bound is no guess."""
    terms = [np.float32(1)] + [np.float32(2.0**-24 * (1 + 2.0**-20))] * 1000
    total = np.float32(0)
    for term in terms:
        total += term
    exact = sum(Fraction(float(term)) for term in terms)
    error = abs(Fraction(float(total)) - exact) / exact
    assert 0.4 * gamma(len(terms), FLOAT32) < error <= gamma(len(terms), FLOAT32)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None)
@given(
    values=st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=40),
    floors=st.lists(st.floats(-4.5, 4.5, width=32), min_size=1, max_size=5),
)
def test_comparing_bits_is_comparing_numbers(device: str, values: list[float], floors: list[float]) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        scores = torch.tensor([values] * len(floors)).to(dtype)
        least = torch.tensor(floors).to(dtype)
        expected = (scores >= least[:, None]).flatten().nonzero()[:, 0]
        kept, reached = at_least(scores.to(device), least)
        assert np.array_equal(kept, expected.numpy())
        assert np.array_equal(reached, scores.float().flatten()[expected].numpy())


def test_zeros_of_either_sign_are_one_number() -> None:
    scores = torch.tensor([[-0.0, 0.0, -1e-30]]).bfloat16()
    for zero in (0.0, -0.0):
        assert at_least(scores, torch.tensor([zero]).bfloat16())[0].tolist() == [0, 1]


@given(
    similarities=st.lists(st.floats(-1, 1), min_size=2, max_size=60),
    seed=st.integers(0, 2**32 - 1),
    error=st.floats(0, 0.1),
    n=st.integers(1, 20),
)
def test_nothing_in_the_top_n_is_below_the_floor(similarities: list[float], seed: int, error: float, n: int) -> None:
    """Any scores that obey a bound, rounded to bfloat16: the n most similar all reach the floor."""
    n = min(n, len(similarities))
    exact = np.array(similarities)
    disturbed = exact + np.random.default_rng(seed).choice([-error, 0, error], len(exact))
    scores = torch.from_numpy(disturbed).float().bfloat16()
    bound = Bound(error + 1e-7, 2.0**-8)
    nth = np.sort(scores.double().numpy())[-n:][:1]
    floor = torch.from_numpy(bound.floor(nth)).bfloat16()
    top = exact >= np.sort(exact)[-n]
    assert (scores[torch.from_numpy(top)] >= floor).all()


def test_a_set_is_as_wide_as_its_widest_part() -> None:
    assert Spread(0.1, 0.4) | Spread(0.2, 0.3) == Spread(0.2, 0.4)


def aligned_sum(products: npt.NDArray[np.float64], group: int) -> float:
    """A sum as matrix units make it: groups of products are aligned to the largest addend and cut off at 24 bits."""
    total = 0.0
    for start in range(0, len(products), group):
        addends = np.append(products[start : start + group], total)
        unit_in_the_last_place = 2.0 ** (np.floor(np.log2(max(np.abs(addends).max(), 1e-300))) - 23)
        total = float((np.trunc(addends / unit_in_the_last_place) * unit_in_the_last_place).sum())
        total = float(np.trunc(total / unit_in_the_last_place) * unit_in_the_last_place)
    return total


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([16, 129, 512]),
    group=st.sampled_from([2, 4, 8, 16, 32]),
    shape=st.sampled_from(["normal", "cancelling", "outlier first", "outlier last"]),
)
def test_sums_that_are_cut_off_in_groups_stay_within_the_bound(seed: int, dim: int, group: int, shape: str) -> None:
    """The error of such a step is relative to its largest addend, not to its result."""
    rng = np.random.default_rng(seed)
    left, right = (torch.from_numpy(rng.normal(size=dim)).bfloat16().double().numpy() for _ in range(2))
    products = left * right
    if shape == "cancelling":
        products[1::2] = -products[: 2 * (dim // 2) : 2] * (1 + 2.0**-15)
    elif shape != "normal":
        products[0 if shape == "outlier first" else -1] = 1e4
    error = abs(aligned_sum(products, group) - products.sum())
    assert error <= gamma(dim, ACCUMULATION) * np.abs(products).sum()


@given(
    start=st.floats(-1.25, 1.25, width=32),
    steps=st.integers(-3, 3),
    nudge=st.sampled_from([0.0, 2.0**-60, -(2.0**-60), 2.0**-40, -(2.0**-40)]),
)
def test_a_floor_that_is_rounded_twice_drops_no_score(start: float, steps: int, nudge: float) -> None:
    """From float64 through float32 to bfloat16 is not one rounding, beside the middle of two bfloat16.

    No float32 sum that reaches the floor may be stored as a score below it.
    """
    low = torch.tensor([start]).bfloat16()
    high = torch.tensor([low.view(torch.int16).item() + 1], dtype=torch.int16).view(torch.bfloat16)
    middle = (low.double().item() + high.double().item()) / 2
    floor = middle * (1 + nudge)
    stored_floor = torch.tensor([floor], dtype=torch.float64).to(torch.bfloat16)
    total = np.float32(floor)
    for _ in range(abs(steps)):
        total = np.nextafter(total, np.float32(np.sign(steps) * 9))
    if float(total) >= floor:
        assert (torch.tensor([total]).bfloat16() >= stored_floor).all()


@pytest.mark.parametrize("columns", [1, 64])
@pytest.mark.parametrize("dim", [1, 7, 512, 2048])
def test_this_machine_sums_as_assumed(dim: int, columns: int) -> None:
    with full_precision:
        assert all(sums_as_assumed(each, dim, columns=columns) for each in HARDWARE)
    assert columns > 1 or sums_as_assumed(Hardware("cpu", torch.float16), dim, columns=1)


@pytest.mark.parametrize("columns", [1, 64])
@pytest.mark.parametrize("fault", ["sums in the type itself", "results cut off", "results one per cent off"])
def test_a_machine_that_sums_otherwise_is_found_out(columns: int, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        columns = right.reshape(right.shape[0], -1)
        if fault == "sums in the type itself":
            total = torch.zeros(left.shape[0], columns.shape[1], dtype=torch.bfloat16)
            for i in range(left.shape[1]):
                total = (total.float() + left[:, i : i + 1].float() * columns[i : i + 1].float()).bfloat16()
        elif fault == "results cut off":
            exact = torch.einsum("ik,kj->ij", left.float(), columns.float())
            total = (exact.view(torch.int32) & -0x20000).view(torch.float32).bfloat16()
        else:
            total = torch.einsum("ik,kj->ij", left.float(), columns.float() * 0.99).bfloat16()
        return total if right.ndim == 2 else total[:, 0]

    monkeypatch.setattr(torch.Tensor, "__matmul__", product, raising=True)
    assert not sums_as_assumed(Hardware("cpu", torch.bfloat16), 512, columns=columns)


def test_a_gpu_without_memory_leaves_products_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered = Hardware.lowered

    def only_on_the_cpu(hardware: Hardware, vectors: torch.Tensor) -> torch.Tensor:
        if hardware.device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return lowered(hardware, vectors)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Hardware, "lowered", only_on_the_cpu)
    assert fastest.__wrapped__(64).device == "cpu"


@pytest.mark.parametrize("device", DEVICES)
def test_types_are_measured_as_they_are_used(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In full precision, whatever the program around has allowed."""
    seen = set()

    def watched(hardware: Hardware, dim: int) -> bool:
        seen.add(
            (torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction)
        )
        return sums_as_assumed(hardware, dim)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(hardware_module, "sums_as_assumed", watched)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert fastest.__wrapped__(64).device == device
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {("highest", False)}


def test_scores_outside_of_the_bound_are_told() -> None:
    bound = Bound(0.01, 2.0**-8)
    scores = np.array([0.5, 0.5, 0.5, -0.5], np.float32)
    assert bound.excludes(scores, np.array([0.51, 0.5119, 0.512, -0.4879])).tolist() == [False, False, True, True]
