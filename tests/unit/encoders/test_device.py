"""Precision and memory of a device: float32 stays so in every thread, and a batch that does not fit is halved."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from vector_sets import DEVICES

from medcbir.encoders import Pixels, get_spec, load_encoder
from medcbir.encoders.device import full_precision
from medcbir.encoders.loaders import Encoder
from medcbir.errors import EncoderError
from medcbir.types import UInt8Image

SPEC = dataclasses.replace(get_spec("efficientnet_lite0"), dim=3, pixels=Pixels(16, (0.5,) * 3, (0.5,) * 3))


def switches() -> tuple[str, bool, bool]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
    )


@pytest.fixture
def _tf32_allowed():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def batch(n: int) -> UInt8Image:
    return np.random.default_rng(1).integers(0, 256, (n, 16, 16, 3), np.uint8)


class Mean(torch.nn.Module):
    """Mean colours (n, 3); `seen` is called first."""

    def __init__(self, seen: Callable[[torch.Tensor], None]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen(pixels)
        return pixels.mean(dim=(2, 3))


@pytest.mark.usefixtures("_tf32_allowed")
def test_threads_that_leave_change_nothing_for_those_that_are_still_within() -> None:
    before = switches()
    assert before == ("medium", True, True)
    first_has_left, both_within = Barrier(2), Barrier(2)

    def first() -> None:
        with full_precision:
            both_within.wait(10)
        first_has_left.wait(10)

    def second() -> tuple[str, bool, bool]:
        with full_precision:
            both_within.wait(10)
            first_has_left.wait(10)
            return switches()

    with ThreadPoolExecutor(2) as pool:
        leaving, staying = pool.submit(first), pool.submit(second)
        leaving.result(10)
        assert staying.result(10) == ("highest", False, False)
    assert switches() == before


@pytest.mark.usefixtures("_tf32_allowed")
@pytest.mark.parametrize("device", DEVICES)
def test_an_encoder_computes_in_full_precision_whatever_the_program_allows(device: str) -> None:
    seen = []
    encoder = Encoder(SPEC, Mean(lambda _: seen.append(switches())), torch.device(device), "float32", {})
    encoder.encode(batch(3))
    assert set(seen) == {("highest", False, False)}
    assert switches() == ("medium", True, True)


@pytest.mark.skipif("cuda" not in DEVICES, reason="there is no GPU")
def test_two_threads_on_a_gpu_give_the_vectors_of_the_cpu(tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (24, 224, 224, 3), np.uint8)
    expected = load_encoder(get_spec("efficientnet_lite0"), weights_dir=tmp_path, device="cpu").encode(images)
    encoder = load_encoder(get_spec("efficientnet_lite0"), weights_dir=tmp_path, device="cuda")
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(encoder.encode, images) for _ in range(8)]
        for each in found:
            np.testing.assert_allclose(each.result(60), expected, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(device: str) -> None:
    tried = []

    def only_five_fit(pixels: torch.Tensor) -> None:
        tried.append(len(pixels))
        if len(pixels) > 5:
            raise torch.OutOfMemoryError

    encoder = Encoder(SPEC, Mean(only_five_fit), torch.device(device), "float32", {})
    encoder._chunk = 16
    images = batch(11)
    vectors = encoder.encode(images)
    assert tried == [11, 8, 4, 4, 3]
    assert encoder.batch_size == 4
    means = (images / 127.5 - 1).mean(axis=(1, 2))
    np.testing.assert_allclose(vectors, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)


def test_threads_that_run_out_of_memory_at_once_halve_the_batch_once() -> None:
    both = Barrier(2)

    def no_two_fit(pixels: torch.Tensor) -> None:
        if len(pixels) > 1:
            both.wait(10)
            raise torch.OutOfMemoryError

    encoder = Encoder(SPEC, Mean(no_two_fit), torch.device("cpu"), "float32", {})
    encoder._chunk = 2
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(encoder.encode, batch(2)) for _ in range(2)]
        assert [len(each.result(10)) for each in found] == [2, 2]
    assert encoder.batch_size == 1


def test_an_image_that_does_not_fit_alone_is_an_error_that_says_what_to_do() -> None:
    def nothing_fits(_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError

    encoder = Encoder(SPEC, Mean(nothing_fits), torch.device("cpu"), "float32", {})
    with pytest.raises(EncoderError, match=r"has no memory for one image of EfficientNet-Lite0: .* --device cpu"):
        encoder.encode(batch(3))


def test_weights_that_do_not_fit_are_an_error_that_says_what_to_do() -> None:
    class Large(torch.nn.Linear):
        def to(self, *_: object, **__: object) -> torch.nn.Module:
            raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(EncoderError, match=r"has no memory for the weights of EfficientNet-Lite0: .* --device cpu"):
        Encoder(SPEC, Large(1, 1), torch.device("cpu"), "float32", {})
