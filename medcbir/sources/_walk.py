"""Every file below a folder, in sorted order, whatever its name or state."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from medcbir.types import Rejection


def walk(root: Path, dataset: str) -> Iterator[str | Rejection]:
    """Absolute paths (symbolic links not resolved) of all files below `root`, or of `root` itself where it is a file.

    Entries of a folder come in the order of their names' bytes. A linked folder is followed unless the walk has been
    in it; what cannot be followed or read, or has a name that is not UTF-8, is a `Rejection`.
    """
    top = os.path.abspath(root)  # noqa: PTH100, links stay as they are
    if not root.is_dir():
        yield checked(top, dataset) if root.is_file() else Rejection(escaped(top), dataset, "is not a regular file")
        return
    seen: set[tuple[int, int]] = set()
    levels = [_entries(top, dataset, seen)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
        elif isinstance(entry, Rejection):
            yield entry
        elif _is(entry.is_dir):
            levels.append(_entries(entry.path, dataset, seen))
        elif _is(entry.is_file):
            yield checked(entry.path, dataset)
        else:
            reason = "is not a regular file" if os.path.exists(entry.path) else "is a link to nothing"  # noqa: PTH110
            yield Rejection(escaped(entry.path), dataset, reason)


def _entries(folder: str, dataset: str, seen: set[tuple[int, int]]) -> Iterator["os.DirEntry[str] | Rejection"]:
    try:
        status = os.stat(folder)  # noqa: PTH116, once per folder of many
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            return
        seen.add(identity)
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        reason = f"folder cannot be read: {error.strerror or type(error).__name__}"
        yield Rejection(escaped(folder), dataset, reason)
        return
    yield from ordered


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


def checked(path: str, dataset: str) -> str | Rejection:
    """`path`, or why it cannot be stored."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return Rejection(escaped(path), dataset, "its path is not valid UTF-8; rename it")
    return path


def escaped(path: str) -> str:
    """`path` with bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
