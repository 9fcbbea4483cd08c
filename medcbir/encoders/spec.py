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
Clean = Literal["as_is", "lower", "canonical"]
TextPooling = Literal["class_token", "mean_of_layers_1_2_last"]
Output = Literal["pooled", "class_token", "neck_mean", "logits", "probabilities", "projected"]

BFLOAT16_SUFFIX = "_bf16"
"""Of the name of an encoder that computes in bfloat16: its vectors are others than float32's, so it is another one."""

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
class Tokenizer:
    """How words become the numbers that a text tower reads, `length` of them at most.

    `file` is Hugging Face's tokenizer.json or BERT's vocab.txt, relative to the weights directory; None stands for
    CLIP's own tokenizer, which comes with open_clip. With a file, the text is cleaned first ('lower'; 'canonical' takes
    punctuation away as well) and goes between `begin` and `end`; `pad` fills the rest, and without it nothing does.
    """

    length: int
    file: str | None = None
    source: str = ""
    clean: Clean = "as_is"
    begin: str | None = None
    end: str | None = None
    pad: str | None = None


@dataclass(frozen=True, slots=True)
class TextTower:
    """What was trained beside an image tower to give words vectors among those of images; its weights are in its file.

    `architecture` is the model of open_clip whose text tower it is (or `config` is), changed by `options`. Or it is
    'bert', transformers' BERT with `options` in its configuration, followed by `pooling` and a linear layer to each
    of the `projection`'s widths, with GELU between them.
    """

    architecture: str
    keys: KeyMap
    tokenizer: Tokenizer
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    pooling: TextPooling | None = None
    projection: tuple[int, ...] = ()
    config: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder: which architecture of which library, whose weights, which pixels go in and which output counts.

    `trained_on` names the training data; `seen` those datasets of the benchmark that are among them, None where its
    publisher leaves that open. `options` are further arguments of the library's constructor. With a `text` tower it
    answers words too. `note` says what a user should know before comparing it with the paper.

    `config` is a model of open_clip itself, where open_clip does not list it; `origin` the file or package that
    describes an encoder which medcbir does not bring along.
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
    text: TextTower | None = None
    note: str = ""
    config: Mapping[str, Any] | None = field(default=None, hash=False)
    origin: str | None = None
    precision: Precision = "float32"

    @property
    def unsuffixed(self) -> str:
        """The name without the suffix that tells its precision."""
        return self.name.removesuffix(BFLOAT16_SUFFIX) if self.precision == "bfloat16" else self.name
