"""What an encoder is, as data: one row of Table 1 of the paper and all that shapes its vectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Library = Literal["timm", "open_clip"]
Interpolation = Literal["bilinear", "bicubic"]
Resize = Literal["shortest", "shortest_floor", "squash", "longest"]
Precision = Literal["float32", "bfloat16"]
Domain = Literal["natural", "medical", "biomedical"]
Output = Literal["pooled", "class_token", "neck_mean", "logits", "probabilities", "projected"]

StateDict = Mapping[str, "Tensor"]
KeyMap = Callable[[StateDict, StateDict], StateDict]
"""(published, wanted) -> the published tensors under the names of `wanted`, the model's own state dict."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file that holds the weights, where its publisher offers it, and how its names become the library's.

    `file` is relative to the weights directory, or to the installed Python package `package`. With `sha256` (hex) no
    other content is accepted.
    """

    file: str
    source: str
    keys: KeyMap
    sha256: str | None = None
    package: str | None = None


@dataclass(frozen=True, slots=True)
class Pixels:
    """What the model sees: RGB of `size` x `size` pixels, scaled to [0, 1], less `mean`, by `std`.

    The image is resized to floor(size / crop), its shortest side ('shortest') or both sides ('squash'), and the centre
    is cut out, its corner rounded as torchvision does (half to even), or down as transformers does ('shortest_floor');
    or its longest side ('longest', as SAM does) is resized to `size` and the rest, right and below, is
    filled with the mean colour.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    crop: float = 1.0
    resize: Resize = "shortest"


@dataclass(frozen=True, slots=True)
class Projection:
    """Pooled features (or the class token) of `inputs` dimensions through a linear layer to `outputs`."""

    inputs: int
    outputs: int
    bias: bool = False


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder: which architecture of which library, whose weights, which pixels go in and which output counts.

    `trained_on` names the training data; `seen` those datasets of the benchmark that are among them, None where its
    publisher leaves that open. `options` are further arguments of the library's constructor. `note` says what a user
    should know before comparing it with the paper.
    """

    name: str
    title: str
    architecture: str
    library: Library
    dim: int
    checkpoint: Checkpoint
    pixels: Pixels
    output: Output | Projection
    domain: Domain
    trained_on: tuple[str, ...]
    licence: str
    seen: tuple[str, ...] | None = ()
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    note: str = ""
