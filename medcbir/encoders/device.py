"""Where torch computes."""

import torch

from medcbir.errors import EncoderError


def accelerator() -> str | None:
    """The model of the accelerator that 'auto' takes; None where that is the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU" if torch.backends.mps.is_available() else None


def torch_device(name: str) -> torch.device:
    """The torch device called `name`, such as 'cuda:1'; 'auto' takes the fastest there is.

    `EncoderError` for one that is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    kind, _, number = name.partition(":")
    of_several = kind == "cuda" and number.isdecimal() and int(number) < torch.cuda.device_count()
    if not available.get(kind) or ((number or ":" in name) and not of_several):
        there = ", ".join(
            f"cuda:0 to cuda:{torch.cuda.device_count() - 1}"
            if device == "cuda" and torch.cuda.device_count() > 1
            else device
            for device, is_there in available.items()
            if is_there
        )
        raise EncoderError(f"no device {name!r} here: use auto or {there}")
    return torch.device(name)
