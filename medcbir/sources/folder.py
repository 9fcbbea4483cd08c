"""A folder of image files, or one image file: labels from the folders' names or from a template (`--label-from`)."""

import os
from collections.abc import Iterator
from pathlib import Path

from medcbir.sources import Options, Source
from medcbir.sources._dicomdir import is_dicomdir, referenced
from medcbir.sources._places import Reader, by_folder_names, by_template
from medcbir.sources._walk import walk
from medcbir.types import ImageRecord, Rejection


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    folder = _folder(path)
    above = Path(os.path.abspath(folder)).parts  # noqa: PTH100, links stay as they are
    read = by_template(options.label_from) if options.label_from is not None else by_folder_names(above)
    return files(path, options, read)


def files(path: Path, options: Options, read: Reader) -> Iterator[ImageRecord | Rejection]:
    """A record of every file at or below `path`, with what `read` tells of its place; `uri` is the absolute path.

    A DICOMDIR stands for the files that it refers to.
    """
    root = os.path.abspath(_folder(path))  # noqa: PTH100, links stay as they are
    default = options.name or os.path.basename(root) or "images"  # noqa: PTH119
    skipped = len(root.rstrip("/")) + 1
    for file in _with_referenced(walk(path, default), default, alone=path.is_file()):
        if isinstance(file, Rejection):
            yield file
            continue
        place = read(tuple(file[skipped:].split("/")))
        yield ImageRecord(
            uri=file,
            dataset=options.name or place.dataset or default,
            path=None if options.metadata_only else Path(file),
            patient=place.patient,
            study_uid=place.study,
            modality=place.modality,
            region=place.region,
            split=options.split or place.split,
            labels=place.labels,
        )


def _with_referenced(walked: Iterator[str | Rejection], dataset: str, *, alone: bool) -> Iterator[str | Rejection]:
    """What was walked, with a DICOMDIR replaced by what it refers to: all of it, or in a folder what is not there."""
    for file in walked:
        named = alone or (isinstance(file, str) and file[-9:].upper() == "/DICOMDIR")
        if isinstance(file, str) and named and is_dicomdir(file):
            yield from (each for each in referenced(file, dataset) if alone or isinstance(each, Rejection))
        else:
            yield file


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


SOURCE = Source(
    name="folder",
    title="a folder of images, or one image file; labels from folder names or --label-from",
    recognises=Path.is_dir,
    records=_records,
)
