"""How much memory this process had at most during a block, where the kernel tells (Linux)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"  # proc(5), clear_refs


@contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """Gives what tells the peak of resident memory since the block's start, in MiB, mapped files included."""
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
        reset = True
    except OSError:
        reset = False
    yield lambda: _high_water_mark() if reset else None


def _high_water_mark() -> float | None:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None
