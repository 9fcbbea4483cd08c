"""medcbir: content-based medical image retrieval as a PostgreSQL system.

`connect()` opens the database; everything else is a method of what it returns.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medcbir.api import Database, connect
    from medcbir.evaluation.frame import frame

__version__ = "0.1.0"
__all__ = ["Database", "__version__", "connect", "frame"]


def __getattr__(name: str) -> object:
    """Import the Python interface on first use, so that `medcbir --help` stays quick."""
    if name in {"connect", "Database"}:
        from medcbir import api

        return getattr(api, name)
    if name == "frame":
        from medcbir.evaluation.frame import frame

        return frame
    raise AttributeError(f"module 'medcbir' has no attribute {name!r}")
