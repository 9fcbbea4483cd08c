"""The files that a DICOMDIR refers to (PS3.10 8, PS3.11): a table of contents of a disc, which nothing vouches for."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom import uid
from pydicom.filereader import read_partial

from medcbir.pixels.dicom import quiet_pydicom
from medcbir.sources._walk import checked, escaped
from medcbir.types import Rejection

_LARGEST = 2**27  # bytes; half a million images
_MISSING = "the DICOMDIR refers to this file, and it is missing"
_OUTSIDE = "refers to a file outside of the DICOMDIR's folder"
_CONTENTS = "is a DICOMDIR, which holds no image itself"
_EMPTY = "is a DICOMDIR that refers to no file"
_DAMAGED = "is a DICOMDIR that cannot be read"


def is_dicomdir(path: str | Path) -> bool:
    """Whether the file's own header says so, whatever it is called; False where it cannot be read."""
    try:
        with quiet_pydicom(), open(path, "rb") as stream:  # noqa: PTH123, a walk has strings
            header = read_partial(stream, stop_when=lambda tag, *_: tag >> 16 != 2)
            return bool(header.file_meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage)
    except Exception:  # whatever a hostile file makes of the parser
        return False


def referenced(path: str, dataset: str) -> Iterator[str | Rejection]:
    """Absolute paths of the files that a DICOMDIR refers to, each once, in its order; those missing as rejections.

    The DICOMDIR comes last, as what holds no image itself.

    They are below its folder, links resolved. Case and a version after a semicolon do not matter, since ISO 9660 and
    those who copy it change them.
    """
    folder = os.path.dirname(path)  # noqa: PTH120
    names = cache(_names)
    try:
        records = _records(path)
    except Exception:
        yield Rejection(path, dataset, _DAMAGED)
        return
    seen: set[tuple[str, ...]] = set()
    for number, parts in enumerate(records, start=1):
        if parts in seen or not parts:
            continue
        seen.add(parts)
        if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            yield Rejection(f"{path}:{number}", dataset, f"record {number} {_OUTSIDE}", kind="invalid")
            continue
        file = folder
        for part in parts:
            listed = names(file)
            file = os.path.join(file, listed.get(_plain(part), part))  # noqa: PTH118
        if not os.path.isfile(file):  # noqa: PTH113
            yield Rejection(escaped(file), dataset, _MISSING)
        elif not os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), "")):  # noqa: PTH118
            yield Rejection(f"{path}:{number}", dataset, f"record {number} {_OUTSIDE}", kind="invalid")
        else:
            yield checked(file, dataset)
    yield Rejection(path, dataset, _CONTENTS if seen else _EMPTY, kind="not_an_image")


def _records(path: str) -> list[tuple[str, ...]]:
    """Referenced File ID of each directory record in use."""
    if os.path.getsize(path) > _LARGEST:  # noqa: PTH202
        raise ValueError
    with quiet_pydicom():
        items: Any = pydicom.dcmread(path, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence")
        records = []
        for item in items or ():
            parts = item.get("ReferencedFileID") if item.get("RecordInUseFlag") != 0 else None
            several = parts if isinstance(parts, pydicom.multival.MultiValue) else [parts] if parts else []
            records.append(tuple(str(part) for part in several))
        return records


def _names(folder: str) -> dict[str, str]:
    """The names in a folder by what ISO 9660 leaves of them."""
    try:
        return {_plain(name): name for name in sorted(os.listdir(folder))}  # noqa: PTH208
    except OSError:
        return {}


def _plain(name: str) -> str:
    return name.partition(";")[0].rstrip(".").casefold()
