"""CheXpert v1.0 and v1.0-small (Irvin et al. 2019): `train.csv`, `valid.csv` and the images that their `Path` names.

The patient is the third part of the path. `train.csv` is divided 90:10 by patient into train and val, `valid.csv` is
the test set. An image counts for its finding where that is the only 1 of its row and no -1 stands beside it; a -1
beside a single 1 leaves it without a label, with what its row says kept as attributes `findings` and `uncertain`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from medcbir.sources import Options, Source
from medcbir.sources._division import validation_patients
from medcbir.sources._findings import Findings, read_marks
from medcbir.sources._table import RowError, Table, has_columns, open_table
from medcbir.sources._tree import REPEATED, Tree, required
from medcbir.types import ImageRecord, Rejection, Split

_NAME = "chexpert"
_TITLE = "CheXpert"
_LEADING = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_PARTS = 5  # CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg


class _Row(NamedTuple):
    test: bool
    view: str
    findings: Findings


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    tables = [open_table(required(path, _TITLE, name)) for name in ("train.csv", "valid.csv")]
    for table in tables:
        table.picker(*_LEADING)
    return _rows(path, tables, options)


def _rows(path: Path, tables: list[Table], options: Options) -> Iterator[ImageRecord | Rejection]:
    dataset = options.name or _NAME
    listed: dict[str, _Row] = {}
    for table in tables:
        yield from _read(table, dataset, listed)
    top = next(iter(listed), _TITLE).partition("/")[0]
    validation = validation_patients(name.split("/")[2] for name, row in listed.items() if not row.test)

    def record(name: str, row: _Row, file: Path | None) -> ImageRecord:
        _, _, patient, study, _ = name.split("/")
        split: Split = "test" if row.test else "val" if patient in validation else "train"
        return ImageRecord(
            uri=name,
            dataset=dataset,
            path=file,
            patient=patient,
            study_uid=f"{patient}/{study}",
            modality="XR",
            region="chest",
            split=options.split or split,
            labels=row.findings.labels,
            attributes={**row.findings.attributes, **({"view": row.view} if row.view else {})},
        )

    manifests = frozenset(table.path.name for table in tables)
    tree = Tree(dataset, options.root or path, manifests, listed, record, lambda place: f"{top}/{place}")
    yield from tree.records(metadata_only=options.metadata_only)


def _read(table: Table, dataset: str, listed: dict[str, _Row]) -> Iterator[Rejection]:
    test = table.path.name == "valid.csv"
    pick = table.picker("Path", "Frontal/Lateral", "AP/PA")
    marked = [position for position, name in enumerate(table.columns) if name not in _LEADING]
    names = tuple(table.columns[position] for position in marked)
    for line, cells in table.rows():
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        name, side, projection = map(str.strip, pick(cells))
        try:
            parts = name.split("/")
            if len(parts) != _PARTS or not all(parts) or ".." in parts:
                raise RowError("Path", "is not dataset/split/patient/study/image")
            if name in listed:
                yield Rejection(name, dataset, REPEATED, kind="invalid")
                continue
            marks = [cells[position] for position in marked]
            findings = read_marks(_NAME, names, marks, uncertain_excludes=True)
            listed[name] = _Row(test, projection or ("LATERAL" if side == "Lateral" else ""), findings)
        except RowError as error:
            yield table.rejection(line, dataset, str(error))


SOURCE = Source(
    name=_NAME,
    title="CheXpert v1.0 or v1.0-small: train.csv, valid.csv and images below",
    recognises=lambda path: has_columns(path / "train.csv", *_LEADING),
    records=_records,
)
