"""Models of full size with weights that depend on nothing but their names and shapes.

What the libraries would draw at random is not drawn, which saves most of the time that building a model takes.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

Model = TypeVar("Model", bound=torch.nn.Module)

_PERIOD = 1_000_003
_DRAWING = {"normal_", "uniform_", "trunc_normal_", "erfinv_"}


class _NothingDrawn(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _DRAWING:
            tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().zero_()  # which lies within the limits that some initialisers draw again for until all do
            return tensor
        return func(*args, **(kwargs or {}))


@cache
def noise() -> torch.Tensor:
    """Uniform numbers from -1 to 1, from the bits of Philox 4x64, which no version of numpy changes."""
    bits = np.random.Philox(key=2).random_raw(_PERIOD // 2 + 1).view(np.uint32)[:_PERIOD]
    return torch.from_numpy((bits.astype(np.float64) / 2**31 - 1).astype(np.float32))


def filled(build: Callable[[], Model]) -> Model:
    """The model that `build` makes, with weights by their names: near one where a layer scales, small elsewhere."""
    with _NothingDrawn():
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
