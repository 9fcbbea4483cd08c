"""From a spec to a model that encodes: the only module that imports timm and open_clip.

Weights are opened without executing code and must fit the model exactly: no tensor is missing, left over or of another
shape.
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors
import safetensors.torch
import timm
import torch
from torch import nn

from medcbir.encoders.device import torch_device
from medcbir.encoders.recipe import library_versions, recipe_of
from medcbir.encoders.spec import EncoderSpec, Output, Precision, Projection, StateDict
from medcbir.encoders.specs import SPECS
from medcbir.encoders.weights import find_checkpoint
from medcbir.errors import EncoderError, VectorError
from medcbir.types import UInt8Image, Vectors

_HEADS: dict[Output, dict[str, Any]] = {
    "pooled": {"num_classes": 0},
    "class_token": {"num_classes": 0, "global_pool": "token"},
    "neck_mean": {"num_classes": 0, "global_pool": "avg"},
}
"""Arguments of timm's constructor for each output; what is not here keeps the classifier."""

_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 64, "heads": 1, "layers": 1}
"""The smallest text tower that open_clip builds: only the image tower is used."""

_CPU_CHUNK = 4 * 224 * 224 * 4
"""Bytes per channel of one forward pass on a CPU: four images of 224 pixels in float32, eight in bfloat16.

Larger passes are slower: their activations exceed the 32 MiB above which glibc asks the kernel for fresh pages at each
allocation. EfficientNet-Lite0 in float32 on two cores: 106 images/s in fours, 75 in eights, 50 at 32, 30 at 64.
"""

_CHUNK = 256
"""Images per forward pass on an accelerator, at most."""

_LISTED = 4
"""How many names of a mismatch an error lists."""


class Encoder:
    """A loaded model with its recipe; one caller at a time."""

    def __init__(
        self, spec: EncoderSpec, model: nn.Module, device: torch.device, precision: Precision, recipe: dict[str, Any]
    ) -> None:
        self.spec = spec
        self.recipe = recipe
        self.device = device.type
        self.versions = library_versions()
        self._dtype = getattr(torch, precision)
        self._model = model.eval().to(device, self._dtype).to(memory_format=torch.channels_last)
        self._device = device
        area = spec.pixels.size**2 * self._dtype.itemsize
        self._chunk = max(1, _CPU_CHUNK // area) if device.type == "cpu" else _CHUNK
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
        for start in range(0, len(batch), self._chunk):
            chunk = slice(start, start + self._chunk)
            vectors[chunk] = self._forward(torch.tensor(batch[chunk])).cpu().numpy()
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        if bad.size:
            raise VectorError(f"{self.spec.name}: zero or non-finite vector for images {bad[:_LISTED]} of the batch")
        vectors /= norms[:, None]
        return vectors

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (n, dim) float32 of (n, size, size, 3) uint8, whose layout in memory stays channels last."""
        pixels = images.to(self._device).permute(0, 3, 1, 2).float()
        # cuDNN would else convolve float32 in TF32, with ten bits of mantissa.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features: torch.Tensor = self._model(pixels.sub_(self._mean).div_(self._std).to(self._dtype)).float()
        return features.softmax(dim=1) if self.spec.output == "probabilities" else features


def load_encoder(
    spec: EncoderSpec, *, weights_dir: Path, device: str = "auto", precision: Precision = "float32"
) -> Encoder:
    """Build the model of `spec`, fill it from its checkpoint and put it on `device` (auto, cpu, cuda or mps).

    Raises `EncoderError` where the checkpoint is missing, is not the expected one or does not fit, and where the device
    is not there.
    """
    target = torch_device(device)
    recipe = recipe_of(spec, weights_dir, precision=precision)
    model = build_model(spec)
    _fill(model, spec, find_checkpoint(spec, weights_dir))
    return Encoder(spec, model, target, precision, recipe)


def build_model(spec: EncoderSpec) -> nn.Module:
    """The architecture of `spec` with random weights: (n, 3, size, size) float32 -> (n, dim), before any softmax."""
    if spec.library == "open_clip":
        config = open_clip.get_model_config(spec.architecture)
        vision = {**config["vision_cfg"], **spec.options}
        clip = open_clip.CLIP(config["embed_dim"], vision, _NO_TEXT, quick_gelu=config.get("quick_gelu", False))
        visual: nn.Module = clip.visual
        return visual
    if isinstance(spec.output, Projection):
        trunk = timm.create_model(spec.architecture, num_classes=0, **spec.options)
        projection = nn.Linear(spec.output.inputs, spec.output.outputs, bias=spec.output.bias)
        return nn.Sequential(OrderedDict(trunk=trunk, projection=projection))
    head = _HEADS.get(spec.output, {"num_classes": spec.dim})
    model: nn.Module = timm.create_model(spec.architecture, **head, **spec.options)
    return model


def read_state_dict(path: Path) -> StateDict:
    """The named tensors of a safetensors or torch file, opened without executing code; `EncoderError` otherwise.

    Training wrappers (`state_dict`, `model`) are taken off.
    """
    if _is_torchscript(path):  # torch.load would hand it to torch.jit.load
        raise EncoderError(
            f"checkpoint refused: {path} is a TorchScript program, which opens only by running its code; "
            "use a file of tensors instead (for CLIP open_clip_model.safetensors of "
            "https://huggingface.co/timm/vit_large_patch14_clip_224.openai)"
        )
    try:
        if path.suffix == ".safetensors":
            loaded: Any = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise EncoderError(
            f"checkpoint refused: {path} holds code or is not a file of tensors; save its state dict as safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        first_line, _, _ = str(error).partition("\n")
        raise EncoderError(f"checkpoint unreadable: {path}: {first_line or 'it ends too early'}") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not (isinstance(loaded, dict) and loaded and all(isinstance(value, torch.Tensor) for value in loaded.values())):
        raise EncoderError(f"checkpoint refused: {path} holds no state dict (names and tensors)")
    return loaded


def _is_torchscript(path: Path) -> bool:
    """Whether the file is an archive that holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _fill(model: nn.Module, spec: EncoderSpec, path: Path) -> None:
    """Load the checkpoint, whose tensors must be exactly those of the model."""
    wanted = _weights(model.state_dict())
    published = _weights(read_state_dict(path))
    try:
        found = spec.checkpoint.keys(published, wanted)
    except KeyError as error:
        raise EncoderError(
            f"checkpoint does not fit: {path} lacks {error.args[0]}, which {spec.title} needs"
            f"{_looks_like(published, spec)}"
        ) from None
    except EncoderError as error:
        raise EncoderError(f"checkpoint does not fit: {path}: {error}{_looks_like(published, spec)}") from None
    faults = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": [name for name in wanted if name in found and wanted[name].shape != found[name].shape],
    }
    if any(faults.values()):
        listed = "; ".join(
            f"{len(names)} {fault} ({', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''})"
            for fault, names in faults.items()
            if names
        )
        raise EncoderError(
            f"checkpoint does not fit: {path} against {spec.title} ({spec.architecture}): {listed}"
            f"{_looks_like(published, spec)}"
        )
    # Not strict for the counters alone, which only training reads: the rest was compared above.
    model.load_state_dict(found, strict=False)


def _looks_like(published: StateDict, spec: EncoderSpec) -> str:
    """Whose checkpoint the tensors are, by the other encoders' own names and shapes; nothing where nobody's."""
    titles = []
    for other in SPECS.values():
        if other.name == spec.name:
            continue
        with torch.device("meta"):
            wanted = _weights(build_model(other).state_dict())
        try:
            found = other.checkpoint.keys(published, wanted)
        except (KeyError, EncoderError, RuntimeError):
            continue
        if found.keys() == wanted.keys() and all(found[name].shape == wanted[name].shape for name in wanted):
            titles.append(other.title)
    return f"; this looks like the checkpoint of {' or '.join(titles)}" if titles else ""


def _weights(state: StateDict) -> StateDict:
    """A state dict without BatchNorm's counters of training steps, which some publishers leave out."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
