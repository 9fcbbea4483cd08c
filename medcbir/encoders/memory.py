"""What the C library does with the memory of one forward pass until the next; nothing here where that is not glibc.

Usually it returns large blocks to the kernel, which maps and clears them anew for each pass: a third of the processor
time of EfficientNet-Lite0 in batches of four, half of it in batches of 32, a quarter of SAM's.
"""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h of glibc
_NEVER = 2**31 - 1
_USUALLY_FREE, _USUALLY_MAPPED = 64 * 2**20, 65536
"""Bytes at the heap's end, and blocks outside it, that malloc allows itself at most."""


def share_one_heap() -> None:
    """Let threads that start from now on have the process's heap, the only one that grows to any size."""
    _set((_ARENA_MAX, 1))


def keep_freed() -> None:
    """Let the heap keep what is freed, however large."""
    _set((_TRIM_THRESHOLD, _NEVER), (_MMAP_MAX, 0))


def give_back() -> None:
    """Let malloc do as it usually does, and return what is free now."""
    _set((_TRIM_THRESHOLD, _USUALLY_FREE), (_MMAP_MAX, _USUALLY_MAPPED))
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set(*settings: tuple[int, int]) -> None:
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in settings:
            mallopt(name, value)
