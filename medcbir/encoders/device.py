"""Where torch computes."""

import torch

from medcbir.errors import EncoderError


def torch_device(name: str) -> torch.device:
    """The torch device called `name`; 'auto' takes the fastest there is. `EncoderError` for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name):
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise EncoderError(f"no device {name!r} here: use auto or {there}")
    return torch.device(name)
