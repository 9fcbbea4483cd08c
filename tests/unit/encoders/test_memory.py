"""Memory that is freed and needed again: asked of the kernel once while a model runs, and given back after."""

import platform
import resource
from pathlib import Path

import numpy as np
import pytest

from medcbir.encoders.memory import give_back, keep_freed

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")


def faults() -> int:
    """How often the kernel maps memory while 100 MiB are allocated, filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(100 * 2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def test_a_large_block_is_mapped_once_while_freed_memory_is_kept_and_each_time_after() -> None:
    keep_freed()
    try:
        faults()
        assert faults() < 10
        held = resident()
    finally:
        give_back()
    assert held - resident() > 90
    assert all(faults() > 40 for _ in range(2))  # so few where a page has 2 MiB
