"""Where images come from: one module per dataset, layout or protocol, each with one `SOURCE`.

A path and the user's options enter; a lazy stream of `ImageRecord` and `Rejection` leaves, always in the same order.
Every file or row becomes one or the other: nothing is skipped in silence. It must never open an image, hold a whole
dataset in memory, or write anywhere. A new source is one new file here: modules are found by themselves, and those
whose names begin with an underscore are not sources.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medcbir.errors import InputError
from medcbir.types import ImageRecord, Rejection, Split

__all__ = ["Options", "Source", "find_source", "sources"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about the images of a source; what is said here wins over what the source finds.

    `name` is the dataset to store, `label_from` a template over paths (see `folder`), `split` that of all images,
    `root` the folder that relative URIs of a manifest mean; `metadata_only` catalogues without the files.
    """

    name: str | None = None
    label_from: str | None = None
    split: Split | None = None
    root: Path | None = None
    metadata_only: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of source; `recognises` looks at a path that exists, `records` raises `InputError` for an unfit one."""

    name: str
    title: str
    recognises: Callable[[Path], bool]
    records: Callable[[Path, Options], Iterator[ImageRecord | Rejection]]


@cache
def sources() -> dict[str, Source]:
    """Every source by its name, in the order of names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    found = [importlib.import_module(f"{__name__}.{name}").SOURCE for name in names]
    return {source.name: source for source in sorted(found, key=lambda source: source.name)}


def find_source(path: Path, dataset: str = "auto") -> Source:
    """The source called `dataset`, or with 'auto' the one that recognises `path`.

    A table that none knows goes to `csv`, which says what it lacks; anything else to `folder`. Raises `InputError` for
    an unknown name, a path that does not exist, and an empty folder.
    """
    known = sources()
    if dataset != "auto" and dataset not in known:
        raise InputError(f"unknown dataset layout {dataset!r}; known are auto, {', '.join(known)}")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        try:
            empty = next(path.iterdir(), None) is None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        if empty:
            raise InputError(f"{path} is an empty folder")
    if dataset != "auto":
        return known[dataset]
    fallback = known["csv" if path.suffix.lower() in (".csv", ".tsv") else "folder"]
    return next((each for each in known.values() if each is not fallback and each.recognises(path)), fallback)
