"""Where torch computes, and how exactly."""

from threading import Lock

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


class _FullPrecision:
    """Within it float32 is computed in float32, not in TF32 or bfloat16, and products of bfloat16 are summed in it.

    torch's switches are those of the whole process: what the program around has chosen comes back when the last of the
    threads that are within leaves.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._within = 0
        self._before: tuple[str, bool, bool] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = (
                    torch.get_float32_matmul_precision(),
                    torch.backends.cudnn.allow_tf32,
                    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
                )
                _switch("highest", False, False)
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within and self._before is not None:
                _switch(*self._before)


def _switch(products: str, convolutions_in_tf32: bool, sums_in_bfloat16: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions_in_tf32
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = sums_in_bfloat16


full_precision = _FullPrecision()
