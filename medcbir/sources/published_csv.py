"""The published tables of Denner et al. 2024 (Zenodo record 11196400): one row per image, one 0/1 column per label.

Columns are `filepath,dataset,split,modality,anatomic_region`, then labels named `MODALITY/region/finding`; others are
kept as attributes. A row without a 1 is an image without label, one with several has several.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from medcbir.errors import InputError
from medcbir.labels import canonical_modality, parse_label, written_region
from medcbir.sources import Options, Source
from medcbir.sources._table import RowError, Table, locate, looks_like_table, open_table, read_split
from medcbir.types import ImageRecord, Rejection

_LEADING = ("filepath", "dataset", "split", "modality", "anatomic_region")
_ONES = frozenset(("1", "1.0"))
_CELLS = _ONES | {"0", "0.0", ""}


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    table = open_table(path)
    if not _has_layout(table):
        raise InputError(f"{path} is no published table: it needs columns {', '.join(_LEADING)} and one per label")
    return _rows(table, options)


def _rows(table: Table, options: Options) -> Iterator[ImageRecord | Rejection]:
    columns = table.columns
    leading = [columns.index(name) for name in _LEADING]
    labels = {position: parse_label(name) for position, name in enumerate(columns) if _is_label(name)}
    first, last = min(labels), max(labels) + 1
    together = last - first == len(labels)
    further = [
        (position, name) for position, name in enumerate(columns) if position not in labels and name not in _LEADING
    ]
    base = os.path.abspath(options.root or table.path.parent)  # noqa: PTH100, links stay as they are
    for line, cells in table.rows():
        dataset = options.name or table.path.stem
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        uri, of, split, modality, region = (cells[position].strip() for position in leading)
        dataset = options.name or of or dataset
        marks = cells[first:last] if together else [cells[position] for position in labels]
        try:
            if not _CELLS.issuperset(marks):
                wrong = next(position for position in labels if cells[position] not in _CELLS)
                raise RowError(columns[wrong], "is neither 0 nor 1")
            yield ImageRecord(
                uri=uri,
                dataset=dataset,
                path=locate(uri, "filepath", base, options),
                modality=(canonical_modality(modality) or modality) if modality else None,
                region=written_region(region) if region else None,
                split=options.split or read_split(split, "split"),
                labels=tuple(labels[position] for position in labels if cells[position] in _ONES),
                attributes={name: cells[position] for position, name in further if cells[position]},
            )
        except RowError as error:
            yield table.rejection(line, dataset, str(error))


def _has_layout(table: Table) -> bool:
    return set(_LEADING) <= set(table.columns) and any(map(_is_label, table.columns))


def _is_label(column: str) -> bool:
    return "/" in column and canonical_modality(column.split("/")[0]) is not None


SOURCE = Source(
    name="published",
    title="a published one-hot table with a column filepath and one per label",
    recognises=lambda path: looks_like_table(path) and _has_layout(open_table(path)),
    records=_records,
)
