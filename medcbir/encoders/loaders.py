"""From a spec to a model that encodes images. See `medcbir.encoders.text` for words."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medcbir.encoders.checkpoints import fill
from medcbir.encoders.device import full_precision, torch_device
from medcbir.encoders.memory import give_back, keep_freed
from medcbir.encoders.models import NothingDrawn, build_model
from medcbir.encoders.preprocess import prepare
from medcbir.encoders.recipe import library_versions, recipe_of
from medcbir.encoders.spec import EncoderSpec, Precision
from medcbir.encoders.verify import slice_of_pydicom
from medcbir.encoders.weights import find_checkpoint
from medcbir.errors import EncoderError, NotCompiledWarning, VectorError
from medcbir.types import UInt8Image, Vectors

_CPU_CHUNK = 4 * 224 * 224 * 4
"""Bytes per channel of one forward pass on a CPU: four images of 224 pixels in float32, eight in bfloat16.

Where freed memory is not kept, larger passes are slower: EfficientNet-Lite0 in float32 on two cores gives 106 images/s
in fours, 75 in eights, 50 at 32, 30 at 64. Where it is, they gain nothing.
"""

_CHUNK, _CHUNK_BYTES = 256, 64 * 2**20
"""Images per forward pass on an accelerator, and bytes of their pixels, at most; halved while its memory runs out."""

_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_GAIN, _TRIED = 1.2, 8

_LISTED = 4
"""How many images an error lists."""

_APART = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
"""How far a number of a compiled model's unit vector may be from what it is without compilation."""


class Encoder:
    """A loaded model with its recipe.

    After `enter_lanes`, `lanes` threads may call `encode` at the same time, each after `enter_lane`; they do best with
    `batch_size` images a call.
    """

    def __init__(
        self, spec: EncoderSpec, model: nn.Module, device: torch.device, precision: Precision, recipe: dict[str, Any]
    ) -> None:
        self.spec = spec
        self.recipe = recipe
        self.device = device.type
        self.versions = library_versions()
        self._dtype = getattr(torch, precision)
        self._model: Callable[[torch.Tensor], torch.Tensor]
        self._compiled = False
        self._device = device
        # On a GPU channels last gains little, and cuDNN takes seconds to plan depthwise layers for it, anew for each
        # thread and each size of a batch: 2 to 4 s for EfficientNet-Lite0 on an H100, otherwise 0.1 s.
        self._layout = torch.contiguous_format if device.type == "cuda" else torch.channels_last
        try:
            self._model = model.eval().to(device, self._dtype).to(memory_format=self._layout)
        except RuntimeError as error:
            if "out of memory" not in str(error):  # as torch says, and CUDA where not even its own state has room
                raise
            raise self._no_memory("the weights") from None
        area = spec.pixels.size**2 * self._dtype.itemsize
        on_cpu = device.type == "cpu"
        self._chunk = max(1, _CPU_CHUNK // area if on_cpu else min(_CHUNK, _CHUNK_BYTES // (3 * spec.pixels.size**2)))
        self._threads = torch.get_num_threads()
        # Large images are shared out within their layers, which then are worth it and take much memory. Beside a GPU
        # that computes, a second thread brings the next batch.
        self.lanes = 2 if device.type == "cuda" else self._threads if on_cpu and self._chunk > 1 else 1
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(spec.pixels.mean, device=device).mul_(255).reshape(shape)
        self._std = torch.tensor(spec.pixels.std, device=device).mul_(255).reshape(shape)

    @torch.inference_mode()
    def encode(self, batch: UInt8Image) -> Vectors:
        """Unit vectors (n, dim) float32 of `batch`, (n, size, size, 3) uint8 as `prepare` gives them.

        Raises `VectorError` where an output is zero or not finite, or the batch is not of that shape.
        """
        size = self.spec.pixels.size
        if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
            raise VectorError(f"{self.spec.name} encodes uint8 (n, {size}, {size}, 3), not {batch.dtype} {batch.shape}")
        vectors = np.empty((len(batch), self.spec.dim), np.float32)
        start = 0
        while start < len(batch):
            size = self._chunk
            chunk = slice(start, start + size)
            try:
                with full_precision:
                    vectors[chunk] = self._forward(batch[chunk]).cpu().numpy()
                start += size
                continue
            except torch.OutOfMemoryError:
                if size == 1:
                    raise self._no_memory("one image") from None
                self._chunk = min(self._chunk, size // 2)  # unless another thread was faster
            torch.cuda.empty_cache()  # here, where no exception holds what the pass had made
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        if bad.size:
            raise VectorError(f"{self.spec.name}: zero or non-finite vector for images {bad[:_LISTED]} of the batch")
        vectors /= norms[:, None]
        return vectors

    def compile(self) -> None:
        """Let torch compile the model for batches of `batch_size`; that takes up to a minute.

        Where it cannot, or a trial gives other vectors, that is a `NotCompiledWarning`, and the model stays as it is.
        How far the numbers of the trial are from those before goes to `versions`, if at all.
        """
        image = prepare(slice_of_pydicom(), self.spec.pixels)
        batch = np.stack([np.roll(image, 8 * shift, axis=1) for shift in range(self._chunk)])
        expected, eager = self.encode(batch), self._model
        self.enter_lane()  # as torch compiles for the number of threads that it finds
        try:
            self._model, self._compiled = torch.compile(eager, dynamic=False), True
            apart = float(np.abs(self.encode(batch) - expected).max())
            reason = "" if apart <= _APART[self._dtype] else f"numbers of its vectors change by {apart:.1g}"
        except Exception as error:  # whatever a compiler and all that it calls may raise
            reason = str(error).partition("\n")[0] or type(error).__name__
        finally:
            torch.set_num_threads(self._threads)
        if reason:
            self._model, self._compiled = eager, False
            warnings.warn(f"{self.spec.title} goes on uncompiled: {reason}", NotCompiledWarning, stacklevel=2)
        elif apart:
            self.versions["torch.compile"] = f"within {apart:.0e}"

    @property
    def batch_size(self) -> int:
        """How many images a call of `encode` should have: as many as pass through the model at once."""
        return self._chunk

    def enter_lanes(self) -> None:
        """Keep the memory of a forward pass for the next one, before the threads are there that compute them."""
        if self._device.type == "cpu":
            keep_freed()

    def enter_lane(self) -> None:
        """Let the calling thread compute by itself, where `lanes` of them do so."""
        if self.lanes == self._threads:
            torch.set_num_threads(1)

    def leave_lanes(self) -> None:
        """Let torch share out the work of one call again, and give memory back."""
        torch.set_num_threads(self._threads)
        if self._device.type == "cpu":
            give_back()

    def _forward(self, images: UInt8Image) -> torch.Tensor:
        """Features (n, dim) float32 of (n, size, size, 3) uint8."""
        count, on_cuda = len(images), self._device.type == "cuda"
        size = max(count, self._chunk) if self._compiled else count  # it compiles for one size
        copied = torch.empty((size, *images.shape[1:]), dtype=torch.uint8, pin_memory=on_cuda)
        copied.numpy()[:count], copied.numpy()[count:] = images, images[:1]
        pixels = copied.to(self._device, non_blocking=on_cuda).permute(0, 3, 1, 2)
        pixels = pixels.to(torch.float32, memory_format=self._layout)
        features = self._model(pixels.sub_(self._mean).div_(self._std).to(self._dtype))[:count].float()
        if features.shape[1:] != (self.spec.dim,):
            found = " x ".join(map(str, features.shape[1:]))
            raise EncoderError(
                f"{self.spec.origin or self.spec.title}: dim: the model gives {found} numbers for an image, not "
                f"{self.spec.dim}"
            )
        return features.softmax(dim=1) if self.spec.output == "probabilities" else features

    def _no_memory(self, needed: str) -> EncoderError:
        return EncoderError(
            f"{self._device} has no memory for {needed} of {self.spec.title}: end what else uses it, or give "
            "--device cpu"
        )


def load_encoder(
    spec: EncoderSpec, *, weights_dir: Path, device: str = "auto", precision: Precision | None = None
) -> Encoder:
    """Build the model of `spec`, fill it from its checkpoint and put it on `device` (auto, cpu, cuda, cuda:1 or mps).

    It computes in the spec's precision where none is given.

    Raises `EncoderError` where the checkpoint is missing, is not the expected one or does not fit, and where the device
    is not there.
    """
    target = torch_device(device)
    precision = precision or spec.precision
    recipe = recipe_of(spec, weights_dir, precision=precision)
    with NothingDrawn():
        model = build_model(spec)
    path = find_checkpoint(spec, weights_dir)
    fill(model, spec, spec.checkpoint.keys, path)
    encoder = Encoder(spec, model, target, precision, recipe)
    if spec.origin is not None:  # nobody has tried yet whether it gives what it says
        size = spec.pixels.size
        try:
            encoder.encode(np.random.default_rng(1).integers(0, 256, (1, size, size, 3), np.uint8))
        except VectorError:
            raise EncoderError(
                f"{path} fills {spec.title}, whose vectors are zero or not finite, however: get the file again, or see "
                f"whether {spec.origin} describes it"
            ) from None
        except (AssertionError, RuntimeError, ValueError) as error:
            raise EncoderError(
                f"{spec.origin}: pixels: the model cannot take images of {size} x {size}, unless by other `options`: "
                f"{' '.join(str(error).split())}"
            ) from None
    return encoder


def faster_precision(spec: EncoderSpec, *, device: str = "auto") -> Precision:
    """Which precision `spec` is encoded faster in on this machine, by a few forward passes with random weights.

    They are of as many images as `encode` passes through at once, since a GPU takes as long for few in either.
    bfloat16 must gain a fifth at least: it is the less exact one.
    """
    target = torch_device(device)
    model = build_model(spec)
    size = spec.pixels.size
    seconds: dict[Precision, float] = {}
    for precision in _PRECISIONS:  # float32 first: to bfloat16 the weights go for good
        encoder = Encoder(spec, model, target, precision, {})
        images = max(_TRIED, encoder.batch_size)
        batch = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8)
        rounds = []
        for _ in range(3):
            started = time.perf_counter()
            encoder.encode(batch)
            rounds.append(time.perf_counter() - started)
        seconds[precision] = min(rounds[1:]) / images
    return "bfloat16" if seconds["float32"] > _GAIN * seconds["bfloat16"] else "float32"
