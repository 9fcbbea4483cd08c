"""MIMIC-CXR-JPG 2.0.0 (Johnson et al. 2019): split, CheXpert and metadata tables, and images under `files/`.

All images of a study carry the findings that its row marks 1; a -1 is not positive, and is kept as attribute
`uncertain`. A study without a row in the CheXpert table is reported, and its images are catalogued without labels.
"""

from collections.abc import Iterator
from pathlib import Path
from sys import intern
from typing import NamedTuple

from medcbir.sources import Options, Source
from medcbir.sources._findings import Findings, read_marks
from medcbir.sources._table import RowError, Table, has_columns, open_table, read_split
from medcbir.sources._tree import REPEATED, Tree, present, required
from medcbir.types import ImageRecord, Rejection, Split

_NAME = "mimic"
_TITLE = "MIMIC-CXR-JPG"
_SPLIT, _FINDINGS, _METADATA = (
    (f"mimic-cxr-2.0.0-{table}.csv", f"mimic-cxr-2.0.0-{table}.csv.gz") for table in ("split", "chexpert", "metadata")
)
_COLUMNS = ("dicom_id", "study_id", "subject_id", "split")
_STUDY = ("subject_id", "study_id")
_UNLABELLED = "this study has no row in the CheXpert table; its images have no label"
_WITHOUT_IMAGES = "the CheXpert table has a row for this study, and the split table has no image of it"


class _Row(NamedTuple):
    patient: str
    study: str
    split: Split | None
    view: str


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    split, findings = (open_table(required(path, _TITLE, *names)) for names in (_SPLIT, _FINDINGS))
    metadata = present(path, *_METADATA)
    split.picker(*_COLUMNS)
    findings.picker(*_STUDY)
    return _rows(path, split, findings, None if metadata is None else open_table(metadata), options)


def _rows(
    path: Path, split: Table, findings: Table, metadata: Table | None, options: Options
) -> Iterator[ImageRecord | Rejection]:
    dataset = options.name or _NAME
    studies: dict[str, Findings] = {}
    yield from _read_findings(findings, dataset, studies)
    views: dict[str, str] = {}
    if metadata is not None:
        yield from _read_views(metadata, dataset, views)
    listed: dict[str, _Row] = {}
    yield from _read_splits(split, dataset, views, listed)

    imaged = dict.fromkeys(row.study for row in listed.values())
    for study in imaged:
        if study not in studies:
            yield Rejection(study, dataset, _UNLABELLED, kind="invalid")
    for study in studies:
        if study not in imaged:
            yield Rejection(study, dataset, _WITHOUT_IMAGES, kind="invalid")

    def record(name: str, row: _Row, file: Path | None) -> ImageRecord:
        found = studies.get(row.study, Findings())
        return ImageRecord(
            uri=name,
            dataset=dataset,
            path=file,
            patient=row.patient,
            study_uid=row.study.rpartition("/")[2],
            modality="XR",
            region="chest",
            split=options.split or row.split,
            labels=found.labels,
            attributes={**found.attributes, **({"view": row.view} if row.view else {})},
        )

    manifests = frozenset((*_SPLIT, *_FINDINGS, *_METADATA))
    tree = Tree(dataset, options.root or path, manifests, listed, record)
    yield from tree.records(metadata_only=options.metadata_only)


def _read_findings(table: Table, dataset: str, studies: dict[str, Findings]) -> Iterator[Rejection]:
    pick = table.picker(*_STUDY)
    marked = [position for position, name in enumerate(table.columns) if name not in _STUDY]
    names = tuple(table.columns[position] for position in marked)
    for line, cells in table.rows():
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        try:
            study = _study(*map(str.strip, pick(cells)))
            if study in studies:
                yield Rejection(study, dataset, REPEATED, kind="invalid")
                continue
            studies[study] = read_marks(_NAME, names, [cells[position] for position in marked])
        except RowError as error:
            yield table.rejection(line, dataset, str(error))


def _read_views(table: Table, dataset: str, views: dict[str, str]) -> Iterator[Rejection]:
    pick = table.picker("dicom_id", "ViewPosition")
    for line, cells in table.rows():
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
        else:
            image, view = map(str.strip, pick(cells))
            views[image] = intern(view)


def _read_splits(table: Table, dataset: str, views: dict[str, str], listed: dict[str, _Row]) -> Iterator[Rejection]:
    pick = table.picker(*_COLUMNS)
    for line, cells in table.rows():
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        image, study_id, subject_id, split = map(str.strip, pick(cells))
        try:
            study = intern(_study(subject_id, study_id))
            name = f"{study}/{image}.jpg"
            if not image or "/" in image:
                raise RowError("dicom_id", f"{image[:20]!r} is no file's name")
            if name in listed:
                yield Rejection(name, dataset, REPEATED, kind="invalid")
                continue
            listed[name] = _Row(subject_id, study, read_split(split, "split"), views.get(image, ""))
        except RowError as error:
            yield table.rejection(line, dataset, str(error))


def _study(subject_id: str, study_id: str) -> str:
    """The folder of a study, which names it."""
    for column, value in zip(_STUDY, (subject_id, study_id), strict=True):
        if not (value.isascii() and value.isdigit()):
            raise RowError(column, f"{value[:20]!r} is not a number")
    return f"files/p{subject_id[:2]}/p{subject_id}/s{study_id}"


SOURCE = Source(
    name=_NAME,
    title="MIMIC-CXR-JPG 2.0.0: its split and CheXpert tables (.csv or .csv.gz), and images under files/",
    recognises=lambda path: any(has_columns(path / name, *_COLUMNS) for name in _SPLIT),
    records=_records,
)
