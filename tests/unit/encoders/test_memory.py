"""Memory that is freed and needed again: kept from one pass to the next while a model runs, and given back after."""

import platform
import resource
from pathlib import Path

import numpy as np
import pytest

from medcbir.encoders.memory import give_back, keep_freed

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")

BLOCK = 200
"""MiB: so large that what the rest of the process allocates meanwhile does not count."""


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def kept() -> float:
    """MiB that the process still holds of a block that it allocated, filled and freed."""
    before = resident()
    np.ones(BLOCK * 2**20, np.uint8)
    return resident() - before


def test_a_large_block_is_kept_while_a_model_runs_and_goes_back_to_the_kernel_after() -> None:
    assert kept() < 0.1 * BLOCK
    keep_freed()
    try:
        assert kept() > 0.9 * BLOCK
        assert abs(kept()) < 0.1 * BLOCK, "the second block lies where the first one lay"
        held = resident()
    finally:
        give_back()
    assert held - resident() > 0.9 * BLOCK
    assert kept() < 0.1 * BLOCK
