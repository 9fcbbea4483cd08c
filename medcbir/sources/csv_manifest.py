"""A manifest: `uri,dataset,patient,split,modality,region,finding`, of which only `uri` is required.

Known further columns are `frame`, `study_uid`, `series_uid` and `instance_uid`; all others are kept as attributes.
Several findings of an image are written `a|b`. An empty finding leaves an image without a label; in a manifest without
the column, modality and region make the label.
"""

import os
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from medcbir.errors import InputError
from medcbir.labels import canonical_modality, label, written_region
from medcbir.sources import Options, Source
from medcbir.sources._table import RowError, Table, locate, looks_like_table, open_table, read_split
from medcbir.types import ImageRecord, Label, Rejection

_KNOWN = (
    *("uri", "dataset", "patient", "split", "modality", "region", "finding"),
    *("frame", "study_uid", "series_uid", "instance_uid"),
)


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    table = open_table(path)
    if "uri" not in _names(table):
        raise InputError(f"{path} has no column uri; a manifest has {', '.join(_KNOWN[:7])}, of which only uri must be")
    return _rows(table, options)


def _rows(table: Table, options: Options) -> Iterator[ImageRecord | Rejection]:
    names = _names(table)
    width = len(names)
    of_known = itemgetter(*(names.index(name) if name in names else width for name in _KNOWN))
    further = [(position, table.columns[position]) for position, name in enumerate(names) if name not in _KNOWN]
    base = os.path.abspath(options.root or table.path.parent)  # noqa: PTH100, links stay as they are
    for line, cells in table.rows():
        dataset = options.name or table.path.stem
        if isinstance(cells, str):
            yield table.rejection(line, dataset, cells)
            continue
        cells.append("")  # what a column that the manifest lacks holds
        uri, of, patient, split, modality, region, finding, frame, study, series, instance = map(
            str.strip, of_known(cells)
        )
        dataset = options.name or of or dataset
        try:
            yield ImageRecord(
                uri=uri,
                dataset=dataset,
                path=locate(uri, "uri", base, options),
                frame=_frame(frame),
                patient=patient or None,
                study_uid=study or None,
                series_uid=series or None,
                instance_uid=instance or None,
                modality=(canonical_modality(modality) or modality) if modality else None,
                region=written_region(region) if region else None,
                split=options.split or read_split(split, "split"),
                labels=_labels(modality, region, finding, finding_expected="finding" in names),
                attributes={name: cells[position] for position, name in further if cells[position]},
            )
        except RowError as error:
            yield table.rejection(line, dataset, str(error))


def _names(table: Table) -> list[str]:
    return [name.casefold() for name in table.columns]


def _frame(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise RowError("frame", f"{text[:20]!r} is no frame number; the first frame is 0")
    return int(text)


def _labels(modality: str, region: str, findings: str, *, finding_expected: bool) -> tuple[Label, ...]:
    """A manifest with findings leaves an image without one unlabelled; one without has classes MODALITY/region."""
    if findings and not (modality and region):
        raise RowError("finding", "needs a modality and a region beside it")
    if findings:
        several = (label(modality, region, finding) for finding in findings.split("|") if finding.strip())
        return tuple(dict.fromkeys(several))
    return (label(modality, region, None),) if modality and region and not finding_expected else ()


SOURCE = Source(
    name="csv",
    title="a CSV or TSV manifest with a column uri",
    recognises=lambda path: looks_like_table(path) and "uri" in _names(open_table(path)),
    records=_records,
)
