"""NIH ChestX-ray14 (Wang et al. 2017): `Data_Entry_2017*.csv`, `train_val_list.txt`, `test_list.txt`, images below.

An image's name is its `Image Index`, wherever below the folder its file is. `train_val_list.txt` is divided 90:10 by
patient; an image in both lists is a test image, so that no query can be in the index.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from medcbir.errors import InputError
from medcbir.sources import Options, Source
from medcbir.sources._division import validation_patients
from medcbir.sources._findings import read_findings
from medcbir.sources._table import Table, has_columns, open_table
from medcbir.sources._tree import REPEATED, Tree, base_name, lines, required
from medcbir.types import ImageRecord, Rejection, Split

_NAME = "nih14"
_TITLE = "NIH ChestX-ray14"
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
_ENTRIES = re.compile(r"Data_Entry_2017.*\.csv")
_NOT_DESCRIBED = "a split list names this image, and no row describes it"


class _Row(NamedTuple):
    findings: str
    patient: str
    view: str


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    entries = _entries(path)
    if entries is None:
        raise InputError(f"{path} is no {_TITLE} folder: it has no Data_Entry_2017*.csv with {', '.join(_COLUMNS)}")
    lists = (required(path, _TITLE, "train_val_list.txt"), required(path, _TITLE, "test_list.txt"))
    return _rows(path, open_table(entries), *lists, options)


def _rows(
    path: Path, table: Table, train_val_list: Path, test_list: Path, options: Options
) -> Iterator[ImageRecord | Rejection]:
    dataset = options.name or _NAME
    listed: dict[str, _Row] = {}
    pick = table.picker(*_COLUMNS)
    for line, cells in table.rows():
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        name, *said = map(str.strip, pick(cells))
        if not name or "/" in name:
            yield table.rejection(line, dataset, f"column Image Index: {name[:20]!r} is no file's name")
        elif name in listed:
            yield Rejection(name, dataset, REPEATED, kind="invalid")
        else:
            listed[name] = _Row(*said)

    train_val = dict.fromkeys(name for _, name in lines(train_val_list))
    test = dict.fromkeys(name for _, name in lines(test_list))
    for name in train_val | test:
        if name not in listed:
            yield Rejection(name, dataset, _NOT_DESCRIBED, kind="invalid")
    patients = (listed[name].patient for name in train_val if name in listed)
    validation = validation_patients(filter(None, patients))

    def split(name: str, patient: str) -> Split | None:
        if name in test:
            return "test"
        if name in train_val:
            return "val" if patient in validation else "train"
        return None

    def record(name: str, row: _Row, file: Path | None) -> ImageRecord:
        found = read_findings(_NAME, tuple(filter(None, map(str.strip, row.findings.split("|")))))
        return ImageRecord(
            uri=name,
            dataset=dataset,
            path=file,
            patient=row.patient or None,
            modality="XR",
            region="chest",
            split=options.split or split(name, row.patient),
            labels=found.labels,
            attributes={**found.attributes, **({"view": row.view} if row.view else {})},
        )

    manifests = frozenset((table.path.name, train_val_list.name, test_list.name))
    tree = Tree(dataset, options.root or path, manifests, listed, record, base_name)
    yield from tree.records(metadata_only=options.metadata_only)


def _entries(path: Path) -> Path | None:
    """The table of images; of several versions, the one whose name sorts last (`_v2020` after the first)."""
    try:
        names = sorted(filter(_ENTRIES.fullmatch, os.listdir(path)), reverse=True)  # noqa: PTH208, names of any bytes
    except OSError:
        return None
    return next((path / name for name in names if has_columns(path / name, *_COLUMNS)), None)


SOURCE = Source(
    name=_NAME,
    title="NIH ChestX-ray14: Data_Entry_2017*.csv, the two split lists, and images below",
    recognises=lambda path: _entries(path) is not None,
    records=_records,
)
