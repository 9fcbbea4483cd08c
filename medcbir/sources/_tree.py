"""A published dataset on disk: images that its manifests list, joined by name with the files below its folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from medcbir.errors import InputError
from medcbir.sources._walk import walk
from medcbir.types import ImageRecord, Rejection

T = TypeVar("T")

REPEATED = "listed more than once; the first row counts"
_MISSING = "a manifest lists this image, and its file is missing"
_UNLISTED = "no manifest lists this image"
_NAMESAKE = "a second file of this name; the first one counts"
_NO_IMAGE = "its name is not that of an image (.png, .jpg, .jpeg)"
_LONGEST_LINE = 10_000  # characters; a longer one is read as several
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Tree(Generic[T]):
    """`listed` has what the manifests say of each image by its name, of which `record` makes a record.

    `root` is the folder searched, and `manifests` the files directly in it that were read already. `name_of` turns a
    path below it into the name that the manifests use. It serves once: images that are found leave `listed`.
    """

    dataset: str
    root: Path
    manifests: frozenset[str]
    listed: dict[str, T]
    record: Callable[[str, T, Path | None], ImageRecord]
    name_of: Callable[[str], str] = str

    def records(self, *, metadata_only: bool = False) -> Iterator[ImageRecord | Rejection]:
        """Every image that is listed and there, in the order of its folders; then those listed that are not.

        With `metadata_only` all that are listed, in the manifests' order, and no folder is looked at. Otherwise each
        folder is listed once and no file is asked about by itself: existence costs no `stat` per image. Held in memory
        are the names listed and found, a few hundred bytes an image.
        """
        if metadata_only:
            for name, row in self.listed.items():
                yield self.record(name, row, None)
            return
        found: set[str] = set()
        for file, place in self._files():
            if isinstance(file, Rejection):
                yield file
                continue
            name = self.name_of(place)
            if name in found:
                yield Rejection(place, self.dataset, _NAMESAKE, kind="invalid")
            elif name in self.listed:
                found.add(name)
                yield self.record(name, self.listed.pop(name), file)
            else:
                yield Rejection(place, self.dataset, _UNLISTED, kind="invalid")
        for name in self.listed:
            yield Rejection(name, self.dataset, _MISSING)

    def unlisted(self, row: T, *, metadata_only: bool = False) -> Iterator[ImageRecord | Rejection]:
        """Every image that is there, each described by `row`, of a tree whose manifests are not."""
        for file, place in self._files():
            if isinstance(file, Rejection):
                yield file
            else:
                yield self.record(self.name_of(place), row, None if metadata_only else file)

    def _files(self) -> Iterator[tuple[Path | Rejection, str]]:
        """Every file but the manifests, with its place below the root; a `Rejection` where its name is no image's."""
        top = len(os.path.abspath(self.root).rstrip("/")) + 1  # noqa: PTH100, links stay as they are
        for file in walk(self.root, self.dataset):
            if isinstance(file, Rejection):
                yield file, file.uri
                continue
            place = file[top:]
            if place.lower().endswith(_SUFFIXES):
                yield Path(file), place
            elif place not in self.manifests:
                yield Rejection(place, self.dataset, _NO_IMAGE, kind="not_an_image"), place


def base_name(place: str) -> str:
    """The name of a file without its folders."""
    return place.rpartition("/")[2]


def present(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in `folder`."""
    return next((folder / name for name in names if os.path.isfile(folder / name)), None)  # noqa: PTH113, never raises


def required(folder: Path, title: str, *names: str) -> Path:
    """The first of these files that is in `folder`; raises `InputError` where none is."""
    file = present(folder, *names)
    if file is None:
        raise InputError(f"{folder} is no {title} folder: it has no {' or '.join(names)}")
    return file


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, without the blanks around them, and their numbers."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(iter(partial(stream.readline, _LONGEST_LINE), ""), start=1):
                if text := line.strip():
                    yield number, text
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
