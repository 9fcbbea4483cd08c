"""COVID-19 chest X-ray, COVIDx (Wang et al. 2020) as X-MIR uses it: `train.txt`, `test.txt` and images below.

A line is `patient filename class source`; a file's name may hold blanks. `val.txt`, which later versions have, is read
where it is. An image in several lists belongs to the first of test, val, train, so that no query can be in the index.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from medcbir.errors import InputError
from medcbir.labels import publisher_labels
from medcbir.sources import Options, Source
from medcbir.sources._findings import read_findings
from medcbir.sources._tree import REPEATED, Tree, base_name, lines, present, required
from medcbir.types import ImageRecord, Rejection, Split

_NAME = "covid"
_TITLE = "COVID-19 chest X-ray"
_LINE = re.compile(r"(\S+)\s+([^\s/][^/]*)\s+(\S+)\s+(\S+)")
_SPLITS: tuple[Split, ...] = ("test", "val", "train")


class _Row(NamedTuple):
    patient: str
    named: str
    origin: str
    split: Split


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    for name in ("train.txt", "test.txt"):
        required(path, _TITLE, name)
    if not _recognises(path):
        raise InputError(f"{path / 'train.txt'} does not begin with a line `patient filename class source`")
    return _rows(path, options)


def _rows(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    dataset = options.name or _NAME
    listed: dict[str, _Row] = {}
    for split in _SPLITS:
        file = present(path, f"{split}.txt")
        for line, text in lines(file) if file is not None else ():
            match = _LINE.fullmatch(text)
            name = match[2].strip() if match else ""
            if match is None:
                reason = f"line {line}: is not `patient filename class source`"
                yield Rejection(f"{split}.txt:{line}", dataset, reason, kind="invalid")
            elif name in listed:
                yield Rejection(name, dataset, REPEATED, kind="invalid")
            else:
                listed[name] = _Row(match[1], match[3], match[4], split)

    def record(name: str, row: _Row, file: Path | None) -> ImageRecord:
        found = read_findings(_NAME, (row.named,))
        return ImageRecord(
            uri=name,
            dataset=dataset,
            path=file,
            patient=row.patient,
            modality="XR",
            region="chest",
            split=options.split or row.split,
            labels=found.labels,
            attributes={**found.attributes, "source": row.origin},
        )

    manifests = frozenset(f"{split}.txt" for split in _SPLITS)
    tree = Tree(dataset, options.root or path, manifests, listed, record, base_name)
    yield from tree.records(metadata_only=options.metadata_only)


def _recognises(path: Path) -> bool:
    train, test = present(path, "train.txt"), present(path, "test.txt")
    if train is None or test is None:
        return False
    try:
        _, first = next(lines(train), (0, ""))
    except (InputError, OSError):
        return False
    match = _LINE.fullmatch(first)
    return match is not None and match[3] in publisher_labels(_NAME)


SOURCE = Source(
    name=_NAME,
    title="COVID-19 chest X-ray (COVIDx): train.txt, test.txt and images below",
    recognises=_recognises,
    records=_records,
)
