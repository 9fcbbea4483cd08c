"""Encoders: images in as uint8 arrays, unit vectors out; specs as data, weights from files, and no database.

`get_spec` finds an encoder in the registry, `prepare` makes an image what its model sees, `load_encoder` gives an
`Encoder` whose `encode` turns batches into vectors, `load_text_encoder` its like for words, and `recipe_of` says,
without loading anything, what makes those vectors what they are. Importing this package imports no torch: only the
two that load do.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medcbir.encoders.preprocess import prepare
from medcbir.encoders.recipe import library_versions, recipe_of, recipe_sha256
from medcbir.encoders.registry import all_specs, find_spec, get_spec, of_precision
from medcbir.encoders.spec import Checkpoint, EncoderSpec, Pixels, Precision, Projection, TextTower, Tokenizer
from medcbir.encoders.specs import DEFAULT, SPECS
from medcbir.encoders.weights import fetch_checkpoint, find_checkpoint, sha256_file, with_checkpoint

if TYPE_CHECKING:
    from medcbir.encoders.loaders import Encoder
    from medcbir.encoders.text import TextEncoder

__all__ = [
    "DEFAULT",
    "SPECS",
    "Checkpoint",
    "Encoder",
    "EncoderSpec",
    "Pixels",
    "Precision",
    "Projection",
    "TextEncoder",
    "TextTower",
    "Tokenizer",
    "all_specs",
    "faster_precision",
    "fetch_checkpoint",
    "find_checkpoint",
    "find_spec",
    "get_spec",
    "library_versions",
    "load_encoder",
    "load_text_encoder",
    "of_precision",
    "prepare",
    "recipe_of",
    "recipe_sha256",
    "sha256_file",
    "with_checkpoint",
]


def load_encoder(
    spec: EncoderSpec, *, weights_dir: Path, device: str = "auto", precision: Precision | None = None
) -> "Encoder":
    """Load the model of `spec`; see `medcbir.encoders.loaders.load_encoder`, which this imports with torch."""
    _before_torch()
    from medcbir.encoders import loaders

    return loaders.load_encoder(spec, weights_dir=weights_dir, device=device, precision=precision)


def faster_precision(spec: EncoderSpec, *, device: str = "auto") -> Precision:
    """Which precision is faster here; see `medcbir.encoders.loaders.faster_precision`, which needs torch."""
    _before_torch()
    from medcbir.encoders import loaders

    return loaders.faster_precision(spec, device=device)


def load_text_encoder(spec: EncoderSpec, *, weights_dir: Path, device: str = "auto") -> "TextEncoder":
    """Load the text tower of `spec`; see `medcbir.encoders.text.load_text_encoder`, which this imports with torch."""
    _before_torch()
    from medcbir.encoders import text

    return text.load_text_encoder(spec, weights_dir=weights_dir, device=device)


def _before_torch() -> None:
    """Let waiting threads sleep, since those that spin take the cores from the decoders beside them, and share a heap.

    On two busy cores EfficientNet-Lite0 gave 4 to 10 images/s with threads that spin, 25 to 40 with threads that sleep.
    """
    from medcbir.encoders.memory import share_one_heap

    share_one_heap()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def __getattr__(name: str) -> object:
    """`Encoder` and `TextEncoder` on first use: their modules import torch."""
    if name == "Encoder":
        from medcbir.encoders import loaders

        return loaders.Encoder
    if name == "TextEncoder":
        from medcbir.encoders import text

        return text.TextEncoder
    raise AttributeError(f"module 'medcbir.encoders' has no attribute {name!r}")
