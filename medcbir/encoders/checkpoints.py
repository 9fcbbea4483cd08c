"""Files of weights, opened without executing code, and models filled from them exactly.

Every tensor of a model comes from the checkpoint; an error lists those missing, left over or of another shape.
"""

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from medcbir.encoders.models import build_model
from medcbir.encoders.spec import EncoderSpec, KeyMap, StateDict
from medcbir.encoders.specs import SPECS
from medcbir.errors import EncoderError

_LISTED = 4
"""How many names of a mismatch an error lists."""

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Names under which training programs keep a model's tensors, beside the optimizer's and others."""

_NOT_WEIGHTS = {
    b"<!doctype": "is a web page: download the file itself",
    b"<html": "is a web page: download the file itself",
    b"version https://git-lfs": "is a pointer of Git LFS: get the file itself by `git lfs pull`",
}
"""What may have come in a checkpoint's place, by how it begins."""


def read_state_dict(path: Path) -> StateDict:
    """The named tensors of a safetensors or torch file, opened without executing code; `EncoderError` otherwise.

    Training wrappers are taken off: a name as `state_dict` or `model` of them all, and DataParallel's `module.`.
    """
    _refuse_what_is_no_checkpoint(path)
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
            with warnings.catch_warnings(action="ignore"):  # about pickle's protocols
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise EncoderError(
            f"checkpoint refused: {path} holds "
            + (f"{asked[1]} beside tensors, which could run code" if asked else "something else than tensors")
            + "; where you trust it, save its state dict alone, as safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        first_line, _, _ = str(error).partition("\n")
        raise EncoderError(
            f"checkpoint unreadable: {path}: {first_line or 'it ends too early'}; if it was cut short, get it again"
        ) from None
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    entries: dict[Any, Any] = loaded if isinstance(loaded, dict) else {}
    others = [str(name) for name, value in entries.items() if not isinstance(value, torch.Tensor)]
    if others or not entries:
        listed = f", but {', '.join(others[:_LISTED])}{', ...' if others[_LISTED:] else ''}" if others else ""
        raise EncoderError(
            f"checkpoint refused: {path} holds no state dict (names and tensors alone){listed}: save that of the model"
        )
    parallel = all(str(name).startswith("module.") for name in entries)
    return {name.removeprefix("module."): tensor for name, tensor in entries.items()} if parallel else entries


def _refuse_what_is_no_checkpoint(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    told = next((told for beginning, told in _NOT_WEIGHTS.items() if start.startswith(beginning)), None)
    if told is not None:
        raise EncoderError(f"checkpoint refused: {path} {told}")


def _is_torchscript(path: Path) -> bool:
    """Whether the file is an archive that holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def fill(model: nn.Module, spec: EncoderSpec, keys: KeyMap, path: Path) -> None:
    """Load the checkpoint of `spec`, of whose tensors `keys` must give exactly those of the model."""
    wanted = _weights(model.state_dict())
    published = _weights(read_state_dict(path))
    try:
        found = keys(published, wanted)
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
            f"{_prefixed(published, wanted)}{_looks_like(published, spec)}"
        )
    # Not strict for the counters alone, which only training reads: the rest was compared above.
    model.load_state_dict(found, strict=False)


def _prefixed(published: StateDict, wanted: StateDict) -> str:
    """What the file's names have before the model's own, where that is all they differ by."""
    first = next(iter(wanted))
    for prefix in (name.removesuffix(first) for name in published if name.endswith(f".{first}")):
        if all(f"{prefix}{name}" in published for name in wanted):
            return f"; the names in the file begin with {prefix}: save them without it"
    return ""


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
