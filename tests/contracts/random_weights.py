"""Models of full size with weights that depend on nothing but their names and shapes."""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np
import torch

from medcbir.encoders.models import NothingDrawn

Model = TypeVar("Model", bound=torch.nn.Module)

_PERIOD = 1_000_003


@cache
def noise() -> torch.Tensor:
    """Uniform numbers from -1 to 1, from the bits of Philox 4x64, which no version of numpy changes."""
    bits = np.random.Philox(key=2).random_raw(_PERIOD // 2 + 1).view(np.uint32)[:_PERIOD]
    return torch.from_numpy((bits.astype(np.float64) / 2**31 - 1).astype(np.float32))


def filled(build: Callable[[], Model]) -> Model:
    """The model that `build` makes, with weights by their names: near one where a layer scales, small elsewhere."""
    with NothingDrawn():
        model = build()
    statistics = [(name, buffer) for name, buffer in model.named_buffers() if "running_" in name]
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *statistics]:
            start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _PERIOD
            drawn = noise().roll(start).repeat(tensor.numel() // _PERIOD + 1)[: tensor.numel()].reshape(tensor.shape)
            if tensor.ndim >= 2:  # of the variance that keeps that of what passes through, more or less
                tensor.copy_(drawn * (3 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("weight", "running_var", "lambda1", "gamma", "gamma_1", "gamma_2")):
                tensor.copy_(1 + drawn / 5)
            else:
                tensor.copy_(drawn / 5)
    return model.eval()
