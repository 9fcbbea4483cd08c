"""Encoders: images in as uint8 arrays, unit vectors out; specs as data, weights from files, and no database.

`get_spec` finds an encoder in the registry, `prepare` makes an image what its model sees, `load_encoder` gives an
`Encoder` whose `encode` turns batches into vectors, and `recipe_of` says, without loading anything, what makes those
vectors what they are. Importing this package imports no torch: only `load_encoder` does.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medcbir.encoders.preprocess import prepare
from medcbir.encoders.recipe import library_versions, recipe_of, recipe_sha256
from medcbir.encoders.spec import Checkpoint, EncoderSpec, Pixels, Precision, Projection
from medcbir.encoders.specs import DEFAULT, SPECS, get_spec
from medcbir.encoders.weights import fetch_checkpoint, find_checkpoint, sha256_file

if TYPE_CHECKING:
    from medcbir.encoders.loaders import Encoder

__all__ = [
    "DEFAULT",
    "SPECS",
    "Checkpoint",
    "Encoder",
    "EncoderSpec",
    "Pixels",
    "Precision",
    "Projection",
    "fetch_checkpoint",
    "find_checkpoint",
    "get_spec",
    "library_versions",
    "load_encoder",
    "prepare",
    "recipe_of",
    "recipe_sha256",
    "sha256_file",
]


def load_encoder(
    spec: EncoderSpec, *, weights_dir: Path, device: str = "auto", precision: Precision = "float32"
) -> "Encoder":
    """Load the model of `spec`; see `medcbir.encoders.loaders.load_encoder`, which this imports with torch."""
    # Threads that wait for each other by spinning take the cores from the decoders beside them: on two busy cores
    # EfficientNet-Lite0 gave 4 to 10 images/s that way, 25 to 40 with threads that sleep. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from medcbir.encoders import loaders

    return loaders.load_encoder(spec, weights_dir=weights_dir, device=device, precision=precision)


def __getattr__(name: str) -> object:
    """`Encoder` on first use: its module imports torch."""
    if name == "Encoder":
        from medcbir.encoders import loaders

        return loaders.Encoder
    raise AttributeError(f"module 'medcbir.encoders' has no attribute {name!r}")
