"""An encoder's spec in words and JSON values, for those who choose among them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from medcbir.encoders.spec import EncoderSpec
from medcbir.encoders.weights import find_checkpoint
from medcbir.errors import EncoderError


def describe_spec(spec: EncoderSpec, weights_dir: Path) -> dict[str, Any]:
    """The spec as JSON values, with the `checkpoint` expected, its `source`, `weights_dir`, `found`, and the `file`."""
    try:
        file = str(find_checkpoint(spec, weights_dir))
    except EncoderError:
        file = None
    return {
        "name": spec.name,
        "title": spec.title,
        "architecture": spec.architecture,
        "library": spec.library,
        "dim": spec.dim,
        "output": spec.output if isinstance(spec.output, str) else {"projection": asdict(spec.output)},
        "options": dict(spec.options),
        "precision": spec.precision,
        "pixels": asdict(spec.pixels),
        "domain": spec.domain,
        "trained_on": list(spec.trained_on),
        "seen": None if spec.seen is None else list(spec.seen),
        "licence": spec.licence,
        "checkpoint": spec.checkpoint.file,
        "sha256": spec.checkpoint.sha256,
        "source": spec.checkpoint.source,
        "weights_dir": str(weights_dir),
        "found": file is not None,
        "file": file,
        "text": None if spec.text is None else asdict(spec.text.tokenizer),
        "origin": spec.origin,
        "note": spec.note,
    }
