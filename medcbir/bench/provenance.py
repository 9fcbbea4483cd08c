"""On what and with what a benchmark was made."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from medcbir.api import Database

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
    import torch

    found = {"processor": _processor(), "cores": str(len(os.sched_getaffinity(0)))}
    found["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def versions(db: Database) -> dict[str, str]:
    """The versions of Python, of the packages that shape numbers, and of the database."""
    status = db.status()
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"PostgreSQL": str(status["postgresql"]), "pgvector": str(status["pgvector"])}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
