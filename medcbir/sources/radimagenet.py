"""RadImageNet (Mei et al. 2022): `radiology_ai/CT|MR|US/region/finding/*.png` and a table for each split.

The tables are `RadImageNet_train.csv`, `_val`, `_test`, or `RadiologyAI_...`, with columns `filename` and `label`. An
image's label is the path of its folder below `radiology_ai`, whatever the column says; an image that is listed with
several different labels has several. One that is listed in several splits belongs to the first of test, val, train, so
that no query can be in the index. Without tables the folders are walked, and no image has a split.
"""

import os
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from medcbir.errors import InputError
from medcbir.labels import parse_label, publisher_labels
from medcbir.sources import Options, Source
from medcbir.sources._findings import Findings, settle
from medcbir.sources._table import Table, has_columns, open_table
from medcbir.sources._tree import Tree
from medcbir.types import ImageRecord, Label, Rejection, Split

_NAME = "radimagenet"
_TOP = "radiology_ai"
_MODALITIES = ("CT", "MR", "US")
_NAMINGS = ("RadImageNet", "RadiologyAI")
_SPLITS: tuple[Split, ...] = ("test", "val", "train")
_COLUMNS = ("filename", "label")
_NO_TABLES = "no RadImageNet_train.csv, _val.csv, _test.csv: the images are catalogued without a split"


class _Row(NamedTuple):
    """The different splits that list an image, the different labels that they give, and how often it is listed."""

    splits: tuple[Split, ...]
    named: tuple[str, ...]
    times: int = 1


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    tables, images = _tables(path), _images(options.root or path)
    if not tables and images is None:
        raise InputError(f"{path} is no RadImageNet folder: it has neither RadImageNet_train.csv nor {_TOP}/CT, MR, US")
    return _rows(images or options.root or path, [open_table(file) for file in tables], options)


def _rows(images: Path, tables: list[Table], options: Options) -> Iterator[ImageRecord | Rejection]:
    dataset = options.name or _NAME
    if not tables:
        yield Rejection(_TOP, dataset, _NO_TABLES, kind="invalid")
    listed: dict[str, _Row] = {}
    for split, table in zip(_SPLITS, tables, strict=False):
        yield from _read(table, dataset, split, listed)

    def record(name: str, row: _Row, file: Path | None) -> ImageRecord:
        folder = name.removeprefix(f"{_TOP}/").rpartition("/")[0]
        found, modality, region = _findings(folder, row.named)
        repeated = {"listed": row.times, "listed_in": list(row.splits)} if row.times > 1 else {}
        return ImageRecord(
            uri=name,
            dataset=dataset,
            path=file,
            modality=modality,
            region=region,
            split=options.split or next(iter(row.splits), None),
            labels=found.labels,
            attributes={**found.attributes, **repeated},
        )

    tree = Tree(
        dataset, images, frozenset(table.path.name for table in tables), listed, record, lambda place: f"{_TOP}/{place}"
    )
    if tables:
        yield from tree.records(metadata_only=options.metadata_only)
    else:
        yield from tree.unlisted(_Row((), ()), metadata_only=options.metadata_only)


def _read(table: Table, dataset: str, split: Split, listed: dict[str, _Row]) -> Iterator[Rejection]:
    pick = table.picker(*_COLUMNS)
    row_of = cache(_Row)  # a million images share a few hundred rows
    for line, cells in table.rows():
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        name, named = map(str.strip, pick(cells))
        if not name or ".." in name.split("/"):
            yield table.rejection(line, dataset, f"column filename: {name[:20]!r} is no path below {_TOP}")
            continue
        name = name if name.startswith(f"{_TOP}/") else f"{_TOP}/{name}"
        known = listed.get(name)
        listed[name] = row_of((split,), (named,)) if known is None else _with(known, split, named)


def _with(row: _Row, split: Split, named: str) -> _Row:
    return _Row(
        row.splits if split in row.splits else (*row.splits, split),
        row.named if named in row.named else (*row.named, named),
        row.times + 1,
    )


@lru_cache(maxsize=4096)
def _findings(folder: str, named: tuple[str, ...]) -> tuple[Findings, str | None, str | None]:
    """What a folder and the labels of its image's rows say, with the folder's modality and region where they are known.

    Of several labels, one that repeats the end of the folder's path ('normal', 'abd-normal') means the folder.
    """
    parts = folder.split("/")
    own = {_letters("".join(parts[start:])) for start in range(len(parts))}
    further = named if len(named) > 1 else ()
    names = dict.fromkeys((folder, *(name for name in further if _letters(name) not in own)))
    labels = {name: _label(name) for name in names}
    found = settle(
        [label for label in labels.values() if label is not None],
        [name for name, label in labels.items() if label is None],
    )
    place = labels[folder]
    if place is None:
        return found, parts[0] if parts[0] in _MODALITIES else None, None
    return found, place.modality, place.region


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def _label(name: str) -> Label | None:
    """The label that a folder's path is, by the table of labels or as it stands; None where it is neither."""
    known = publisher_labels(_NAME).get(name)
    parts = name.split("/")
    return parse_label(name) if known is None and len(parts) > 2 and parts[0] in _MODALITIES and all(parts) else known


def _tables(path: Path) -> tuple[Path, ...]:
    """The tables of test, val and train, in this order, or none; `InputError` where only some of them are there."""
    folders = (path, path / _TOP, *((path.parent,) if path.name == _TOP else ()))
    for folder in folders:
        for naming in _NAMINGS:
            files = [folder / f"{naming}_{split}.csv" for split in _SPLITS]
            found = [has_columns(file, *_COLUMNS) for file in files]
            if all(found):
                return tuple(files)
            if any(found):
                raise InputError(f"{folder} lacks {files[found.index(False)].name}, or its columns filename and label")
    return ()


def _images(path: Path) -> Path | None:
    """The folder that holds CT, MR and US."""
    for folder in (path / _TOP, path):
        if folder.name == _TOP and any(os.path.isdir(folder / modality) for modality in _MODALITIES):  # noqa: PTH112
            return folder
    return None


def _recognises(path: Path) -> bool:
    try:
        return bool(_tables(path)) or _images(path) is not None
    except InputError:
        return True


SOURCE = Source(
    name=_NAME,
    title="RadImageNet: radiology_ai/ and a table for each split",
    recognises=_recognises,
    records=_records,
)
