"""An encoder's identity: everything that shapes its vectors, as JSON, and the digest of that."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medcbir.encoders.spec import EncoderSpec, Precision
from medcbir.encoders.weights import checkpoint_sha256, find_checkpoint


def recipe_of(spec: EncoderSpec, weights_dir: Path, *, precision: Precision | None = None) -> dict[str, Any]:
    """The whole recipe as JSON values, from the spec and the checkpoint on disk, without loading the model.

    Two encoders with the same recipe give the same vectors; a changed checkpoint is another recipe. The name is not
    part of it, nor are the libraries' versions. Raises `EncoderError` where the checkpoint is missing.
    """
    recipe = {
        "architecture": spec.architecture,
        "library": spec.library,
        "options": dict(spec.options),
        "checkpoint": {
            "file": find_checkpoint(spec, weights_dir).name,
            "sha256": checkpoint_sha256(spec, weights_dir),
            "keys": spec.checkpoint.keys.__name__,
        },
        "pixels": asdict(spec.pixels),
        "output": spec.output if isinstance(spec.output, str) else {"projection": asdict(spec.output)},
        "precision": precision or spec.precision,
        "dim": spec.dim,
    }
    if spec.config is not None:
        recipe["config"] = dict(spec.config)
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    return plain


def recipe_sha256(recipe: dict[str, Any]) -> bytes:
    """SHA-256 over the recipe's canonical JSON: sorted keys, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()).digest()


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that make vectors: kept for the record, no part of the recipe."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "timm", "open_clip_torch", "pillow")}
