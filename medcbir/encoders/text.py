"""From a spec to a text tower that encodes words, beside the images of the same encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medcbir.encoders.checkpoints import fill
from medcbir.encoders.device import full_precision, torch_device
from medcbir.encoders.models import NothingDrawn, build_text_model
from medcbir.encoders.registry import text_tower
from medcbir.encoders.spec import EncoderSpec
from medcbir.encoders.tokens import tokenize
from medcbir.encoders.weights import checkpoint_sha256, find_checkpoint, find_tokenizer
from medcbir.errors import InputError, VectorError
from medcbir.types import Vectors


class TextEncoder:
    """A loaded text tower; its vectors are comparable with those of its encoder's images."""

    def __init__(self, spec: EncoderSpec, model: nn.Module, device: torch.device, tokenizer_file: Path | None) -> None:
        self.spec = spec
        self._tokenizer = text_tower(spec).tokenizer
        self._file = tokenizer_file
        self._model = model.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, dim) float32 of `texts`, each encoded by itself.

        Raises `InputError` for a text that is empty or longer than the tower reads.
        """
        if not all(text.strip() for text in texts):
            raise InputError("a text query needs words")
        vectors = np.empty((len(texts), self.spec.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            tokens = torch.from_numpy(tokenize(text, self._tokenizer, self._file))
            with full_precision:
                row[:] = self._model(tokens[None].to(self._device))[0].cpu().numpy()
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise VectorError(f"{self.spec.name}: zero or non-finite vector for a text")
        vectors /= norms[:, None]
        return vectors


def load_text_encoder(spec: EncoderSpec, *, weights_dir: Path, device: str = "auto") -> TextEncoder:
    """Build the text tower of `spec`, in float32, and fill it from the encoder's checkpoint.

    Raises `EncoderError` where the encoder has no text tower, where the checkpoint or the tokenizer's file is missing
    or does not fit, and where the device is not there.
    """
    tower, target = text_tower(spec), torch_device(device)
    file = find_tokenizer(spec, weights_dir)
    checkpoint_sha256(spec, weights_dir)
    with NothingDrawn():
        model = build_text_model(tower)
    fill(model, spec, tower.keys, find_checkpoint(spec, weights_dir))
    return TextEncoder(spec, model, target, file)
