"""Whether an encoder's weights are there, are the right ones, and make the vectors that they should."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom

from medcbir.encoders.preprocess import prepare
from medcbir.encoders.spec import EncoderSpec
from medcbir.encoders.weights import (
    checkpoint_sha256,
    fetch_checkpoint,
    fetch_tokenizer,
    find_checkpoint,
    find_tokenizer,
)
from medcbir.errors import EncoderError, VectorError
from medcbir.types import Progress, UInt8Image

GOLDEN: dict[str, tuple[float, ...]] = {
    "efficientnet_lite0": (0.012785, 0.000000, 0.017638, 0.018950, 0.000000, 0.047068, 0.000000, 0.001674),
}
"""The first eight numbers of `slice_of_pydicom`'s vector, with the real weights and float32 on a CPU, where known."""

_TOLERANCE = 1e-4  # devices and versions of torch differ by 1e-6 or so, other weights or pixels by 1e-2


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of one encoder; `reason` is empty where all is well, `golden` None where no vector is known.

    `words` tells whether its text tower reads words; None where it has none.
    """

    name: str
    state: Literal["ok", "missing", "failed"]
    file: str | None = None
    sha256: str | None = None
    known_sha256: bool = False
    golden: bool | None = None
    words: Literal["ok", "no tokenizer"] | None = None
    reason: str = ""


def verify(
    spec: EncoderSpec, weights_dir: Path, *, allow_download: bool = False, progress: Progress | None = None
) -> Verification:
    """Find the weights of `spec`, compare their digest, load them strictly, and encode a real slice twice.

    With `allow_download` what is missing is fetched first, the tokenizer of a text tower too.
    """
    from medcbir.encoders import load_encoder

    try:
        path = fetch_checkpoint(spec, weights_dir, progress) if allow_download else find_checkpoint(spec, weights_dir)
    except EncoderError as error:
        return Verification(spec.name, "missing", reason=str(error))
    known, golden = spec.checkpoint.sha256 is not None, GOLDEN.get(spec.name)
    try:
        digest = checkpoint_sha256(spec, weights_dir)
        encoder = load_encoder(spec, weights_dir=weights_dir, device="cpu")
        image = prepare(slice_of_pydicom(), spec.pixels)[None]
        vector = encoder.encode(image)[0]
        if vector.shape != (spec.dim,) or not np.allclose(vector, encoder.encode(image)[0], atol=_TOLERANCE):
            raise EncoderError(f"{spec.title} does not give the same {spec.dim} numbers for the same image")
        if golden is not None and not np.allclose(vector[: len(golden)], golden, atol=_TOLERANCE):
            raise EncoderError(f"{spec.title} gives another vector than its weights gave its makers: {vector[:8]}")
        words = _verify_words(spec, weights_dir, allow_download=allow_download, progress=progress)
    except (EncoderError, VectorError) as error:
        return Verification(spec.name, "failed", str(path), reason=str(error))
    return Verification(spec.name, "ok", str(path), digest, known, None if golden is None else True, words)


def _verify_words(
    spec: EncoderSpec, weights_dir: Path, *, allow_download: bool, progress: Progress | None
) -> Literal["ok", "no tokenizer"] | None:
    """Fill the text tower and encode words; a tokenizer that is not there is no fault of the weights."""
    from medcbir.encoders import load_text_encoder

    if spec.text is None:
        return None
    try:
        if allow_download:
            fetch_tokenizer(spec, weights_dir, progress)
        find_tokenizer(spec, weights_dir)
    except EncoderError:
        return "no tokenizer"
    load_text_encoder(spec, weights_dir=weights_dir, device="cpu").encode(["chest radiograph"])
    return "ok"


def slice_of_pydicom() -> UInt8Image:
    """The CT slice that comes with pydicom, (128, 128) uint8, scaled from its least to its largest value."""
    file = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    values = pydicom.dcmread(file).pixel_array.astype(np.float64)
    scaled: UInt8Image = np.rint(255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)
    return scaled
