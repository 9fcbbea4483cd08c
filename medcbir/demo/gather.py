"""The images: those that `collection.csv` describes, found in installed packages, each picture once, split by patient.

The table was written by looking at every image. `label_from` says whether the region stands in the DICOM header or was
read off the image; files that match no row (colour test patterns, masks, dose grids, plans, pictures without visible
anatomy, thumbnails) are left out.
"""

import csv
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

from medcbir.errors import InputError, MedcbirError
from medcbir.pixels import open_image, pixel_sha256
from medcbir.types import Split

_FOLDERS = {  # source: package, folder within it, files that are looked at
    "pydicom": ("pydicom", "data/test_files", "*.dcm"),
    "pydicom-data": ("data_store", "data", "*.dcm"),
    "nibabel": ("nibabel", "tests/data", "*.nii.gz"),
    "nilearn": ("nilearn", "datasets/data", "*_t1_*.nii.gz"),
}
_COLUMNS = ("uri", "dataset", "patient", "split", "modality", "region", "frame", "source", "label_from", "burned_in")


@dataclass(frozen=True, slots=True)
class Described:
    """A row of `collection.csv`: what the files of this pattern are. `person` is False for an average of people.

    `burned_in` is 'true' where the pixels hold text that names an institution: such images are not shown in reports.
    """

    pattern: str
    patient: str
    person: bool
    modality: str
    region: str
    label_from: str
    burned_in: str
    frames: slice

    @property
    def label(self) -> tuple[str, str]:
        """Modality and region: the class."""
        return self.modality, self.region


@dataclass(frozen=True, slots=True)
class Item:
    """One image to catalogue: a frame of a file, what it is, and its split."""

    path: Path
    frame: int
    source: str
    described: Described
    split: Split = "train"


@dataclass(frozen=True, slots=True)
class Collection:
    """What was gathered: `items` below `root`; `repeated` pictures and `left_out` files are not among them."""

    root: Path
    items: tuple[Item, ...]
    repeated: int
    left_out: int


def gather() -> Collection:
    """Look through the packages. Raises `InputError` where one of them is not installed."""
    folders = {source: _folder(source) for source in _FOLDERS}
    table = describe_files()
    items: list[Item] = []
    seen: set[bytes] = set()
    repeated = left_out = 0
    for source, folder in folders.items():
        for path in sorted(folder.glob(_FOLDERS[source][2])):
            described = next((row for row in table if fnmatchcase(path.name, row.pattern)), None)
            if described is None:
                left_out += 1
                continue
            for frame, digest in _frames(path, described.frames):
                if digest in seen:
                    repeated += 1
                    continue
                if digest is not None:
                    seen.add(digest)
                items.append(Item(path, frame, source, described))
    root = Path(os.path.commonpath(folders.values()))
    return Collection(root, tuple(_divided(items)), repeated, left_out)


def describe_files() -> list[Described]:
    """The rows of `collection.csv`."""
    text = files(__package__).joinpath("collection.csv").read_text(encoding="utf-8")
    return [
        Described(
            row["pattern"],
            row["patient"],
            row["person"] == "yes",
            row["modality"],
            row["region"],
            row["label_from"],
            row["burned_in"],
            _slice(row["frames"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def write_manifest(collection: Collection, file: Path, dataset: str) -> None:
    """Write the manifest that `medcbir ingest` reads; its URIs are relative to the collection's root."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for item in collection.items:
            uri = item.path.relative_to(collection.root).as_posix()
            what = item.described
            named = (dataset, what.patient, item.split, what.modality, what.region)
            writer.writerow((uri, *named, item.frame, item.source, what.label_from, what.burned_in))


def _slice(text: str) -> slice:
    return slice(*(int(part) if part else None for part in text.split(":"))) if text else slice(None)


def _folder(source: str) -> Path:
    package, within, _ = _FOLDERS[source]
    spec = importlib.util.find_spec(package)  # finds without importing
    for place in (spec and spec.submodule_search_locations) or ():
        if (folder := Path(place) / within).is_dir():
            return folder
    raise InputError(f'the demo needs the images of package {source}: pip install "medcbir[demo]"')


def _frames(path: Path, chosen: slice) -> Iterator[tuple[int, bytes | None]]:
    """Each chosen frame with the digest of its pixels; a file that cannot be read is one frame without."""
    try:
        image = open_image(path)
        for frame in range(image.n_frames)[chosen]:
            yield frame, pixel_sha256(image.frame(frame))
    except MedcbirError:
        yield 0, None  # ingest will say why it rejects it


def _divided(items: Iterable[Item]) -> Iterator[Item]:
    """Items with their split: patients are never divided.

    Of each class with several patients or volumes, half of them (rounded up, but never all) are test, in the order of
    their pseudonym's digest; an average of people is never asked about.
    """
    kept = list(items)
    asked: set[str] = set()
    for label in {item.described.label for item in kept}:
        rows = {item.described.patient: item.described.person for item in kept if item.described.label == label}
        people = sorted((patient for patient, person in rows.items() if person), key=_lot)
        asked.update(people[: min((len(people) + 1) // 2, len(rows) - 1)])
    for item in kept:
        yield replace(item, split="test" if item.described.patient in asked else "train")


def _lot(patient: str) -> bytes:
    return hashlib.sha256(patient.encode()).digest()
