"""Where images come from: one module per dataset, layout or protocol, each with one `SOURCE`.

A path or URL and the user's options enter; a lazy stream of `ImageRecord` and `Rejection` leaves, always in the same
order. Every file or row becomes one or the other: nothing is skipped in silence. It must never open an image, hold a
whole dataset in memory, or write anywhere but to the store of instances that a PACS has given. A new source is one new
file here: modules are found by themselves, and those whose names begin with an underscore are not sources.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import NewType
from urllib.parse import urlsplit

from pydantic import SecretStr

from medcbir.errors import InputError
from medcbir.sources._instances import InstanceStore
from medcbir.types import ImageRecord, Rejection, Split

__all__ = ["InstanceStore", "Options", "Pacs", "Source", "Url", "find_source", "parse_place", "sources"]

Url = NewType("Url", str)
"""Where a server is: `http` or `https`, without credentials, query or fragment."""

Place = Path | Url


@dataclass(frozen=True, slots=True)
class Pacs:
    """What a source that is a server needs: where its instances go, what is wanted of them, and how to be let in.

    `since` is the earliest study date, `patience` the seconds in which a busy server is asked again. `looked_at`
    remembers studies by their UID and number of instances; those that are the same are not asked for again. Whoever
    looks repeatedly keeps it, and clears it after a failure.
    """

    store: InstanceStore
    modality: str | None = None
    since: date | None = None
    authorization: SecretStr | None = None
    patience: float = 60.0
    looked_at: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about the images of a source; what is said here wins over what the source finds.

    `name` is the dataset to store, `label_from` a template over paths (see `folder`), `split` that of all images,
    `root` the folder that relative URIs of a manifest mean; `metadata_only` catalogues without the files. `pacs` is for
    sources at URLs.
    """

    name: str | None = None
    label_from: str | None = None
    split: Split | None = None
    root: Path | None = None
    metadata_only: bool = False
    pacs: Pacs | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of source; `recognises` looks at a path that exists, `records` raises `InputError` for an unfit one.

    A server has `records_at` instead, and its `records` refuses every path.
    """

    name: str
    title: str
    recognises: Callable[[Path], bool]
    records: Callable[[Path, Options], Iterator[ImageRecord | Rejection]]
    records_at: Callable[[Url, Options], Iterator[ImageRecord | Rejection]] | None = None

    def read(self, place: Place, options: Options) -> Iterator[ImageRecord | Rejection]:
        """The records of a place; `InputError` for options that say nothing about such a place."""
        if isinstance(place, Path):
            if options.pacs is not None and (options.pacs.modality, options.pacs.since) != (None, None):
                raise InputError("a modality and a date to start from choose among a PACS's studies, not among files")
            return self.records(place, options)
        if self.records_at is None:
            raise InputError(f"{self.name} is a layout of files, and {place} is a URL")
        if options.label_from is not None or options.root is not None:
            raise InputError("label templates and root folders are for files, not for a PACS")
        return self.records_at(place, options)


@cache
def sources() -> dict[str, Source]:
    """Every source by its name, in the order of names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    found = [importlib.import_module(f"{__name__}.{name}").SOURCE for name in names]
    return {source.name: source for source in sorted(found, key=lambda source: source.name)}


def parse_place(given: str | Path) -> Place:
    """A URL where `given` is one, else a path; `InputError` for a URL that would carry more than a place."""
    text = str(given)
    if isinstance(given, Path) or not text.lower().startswith(("http://", "https://")):
        return Path(given)
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError("the URL names no server; it must look like https://host:port/path")
    if "@" in parts.netloc:
        raise InputError(
            "the URL holds a name or password, which logs and the catalogue would show: take it out, and put the "
            "header that it stands for into MEDCBIR_DICOMWEB_AUTHORIZATION"
        )
    if parts.query or parts.fragment:
        raise InputError("the URL must end with its path: what follows a ? or # may be secret, and would be stored")
    return Url(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")


def find_source(path: Place, dataset: str = "auto") -> Source:
    """The source called `dataset`, or with 'auto' the one that recognises `path`.

    A URL goes to the source of servers. A table that none knows goes to `csv`, which says what it lacks; anything else
    to `folder`. Raises `InputError` for an unknown name, a path that does not exist, and an empty folder.
    """
    known = sources()
    if dataset != "auto" and dataset not in known:
        raise InputError(f"unknown dataset layout {dataset!r}; known are auto, {', '.join(known)}")
    if not isinstance(path, Path):
        return known["dicomweb" if dataset == "auto" else dataset]
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
