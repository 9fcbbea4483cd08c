"""Memory that is freed and needed again: kept from one pass to the next while a model runs, and given back after."""

import platform
import subprocess
import sys

import pytest

BLOCK = 200
"""MiB: so large that what else the process allocates does not count."""

PASSES = f"""
import resource
from pathlib import Path

import numpy as np

from medcbir.encoders.memory import give_back, keep_freed


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def kept():
    before = resident()
    np.ones({BLOCK} * 2**20, np.uint8)
    return resident() - before


usually = kept()
keep_freed()
first, second, held = kept(), kept(), resident()
give_back()
print(usually, first, second, held - resident(), kept())
"""
"""MiB that the process still holds of a block that it allocated, filled and freed, at each stage."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_a_large_block_is_kept_while_a_model_runs_and_goes_back_to_the_kernel_after() -> None:
    """In a process of its own: a heap with holes of other tests would give such a block from one of them."""
    done = subprocess.run([sys.executable, "-c", PASSES], check=True, capture_output=True, text=True)
    usually, first, second, given_back, after = map(float, done.stdout.split())
    assert usually < 0.1 * BLOCK
    assert first > 0.9 * BLOCK
    assert abs(second) < 0.1 * BLOCK, "it lies where the first one lay"
    assert given_back > 0.9 * BLOCK
    assert after < 0.1 * BLOCK
