"""The machine and the software that this process works with, for whoever repeats what it made."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "medcbir",
    "numpy",
    "torch",
    "timm",
    "open_clip_torch",
    "pillow",
    "pydicom",
    "psycopg",
    "openTSNE",
    "faiss-cpu",
)


def hardware() -> dict[str, str]:
    """The processor, the cores that this process may use, the memory, and the accelerator if there is one."""
    from medcbir.encoders.device import accelerator

    found = {
        "System": f"{platform.system()} {platform.machine()}",
        "Processor": _processor(),
        "Cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
    }
    return found | ({"Accelerator": name} if (name := accelerator()) else {})


def versions(also: Sequence[str] = ()) -> dict[str, str]:
    """The versions of Python and of the packages that shape numbers, of those that are installed; of `also` besides."""
    found = {"Python": platform.python_version()}
    for name in (*_PACKAGES, *also):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
