"""What a source holds, counted beside the published numbers before anything is opened or stored."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from medcbir.types import (
    Exclusion,
    ImageRecord,
    Label,
    Progress,
    Rejection,
    Silent,
    Split,
    Survey,
    SurveyClasses,
    SurveyCount,
)

SEVERAL = "several labels"
UNKNOWN = "an unknown label"
UNCERTAIN = "an uncertain finding beside its only one"
UNLABELLED = "no label"
REPEATED = "listed more than once; the first row counts"
_EXAMPLES = 5
_LINE = re.compile(r"line \d+: ")
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass
class _Tally:
    images: int = 0
    counts: Counter[tuple[str, str, Split | None]] = field(default_factory=Counter)
    classes: defaultdict[tuple[str, str], set[Label]] = field(default_factory=lambda: defaultdict(set))
    excluded: Counter[tuple[str, bool]] = field(default_factory=Counter)
    examples: defaultdict[tuple[str, bool], list[str]] = field(default_factory=lambda: defaultdict(list))
    unknown: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    across_splits: int = 0
    seen: set[int] = field(default_factory=set)

    def exclude(self, uri: str, reason: str, *, catalogued: bool) -> None:
        self.excluded[reason, catalogued] += 1
        if len(self.examples[reason, catalogued]) < _EXAMPLES:
            self.examples[reason, catalogued].append(uri)


def survey(records: Iterable[ImageRecord | Rejection], source: str, progress: Progress | None = None) -> Survey:
    """Count what `records` of the source called `source` would bring into an empty catalogue.

    Reads no pixel, so that duplicate pictures and unreadable files are found by the ingest alone. Memory grows by a
    number per image.
    """
    progress = progress or Silent()
    progress.begin("survey", "files", None)
    tally = _Tally()
    for item in records:
        if isinstance(item, Rejection):
            tally.exclude(item.uri, _LINE.sub("", item.reason, count=1), catalogued=False)
        else:
            _count(item, tally)
        progress.advance(1)
    return Survey(
        source,
        tally.images,
        _counts(tally, source),
        _classes(tally, source),
        tuple(sorted({label.region for labels in tally.classes.values() for label in labels})),
        tuple(
            Exclusion(reason, count, tuple(tally.examples[reason, catalogued]), catalogued)
            for (reason, catalogued), count in sorted(
                tally.excluded.items(), key=lambda item: (not item[0][1], item[0])
            )
        ),
        dict(sorted(tally.unknown.items())),
        tally.repeated,
        tally.across_splits,
    )


def _count(record: ImageRecord, tally: _Tally) -> None:
    identity = hash((record.dataset, record.uri, record.frame))
    if identity in tally.seen:
        tally.exclude(record.uri, REPEATED, catalogued=False)
        return
    tally.seen.add(identity)
    tally.images += 1
    tally.unknown.update(_told(record, "unknown"))
    tally.repeated += bool(_told(record, "listed_in"))
    tally.across_splits += len(_told(record, "listed_in")) > 1
    if len(record.labels) == 1:
        [label] = record.labels
        tally.counts[record.dataset, label.modality, record.split] += 1
        tally.classes[record.dataset, label.modality].add(label)
    else:
        tally.exclude(record.uri, _why(record), catalogued=True)


def _why(record: ImageRecord) -> str:
    """Why an image does not have exactly one label."""
    if record.labels:
        return SEVERAL
    if _told(record, "unknown"):
        return UNKNOWN
    return UNCERTAIN if _told(record, "uncertain") and _told(record, "findings") else UNLABELLED


def _told(record: ImageRecord, attribute: str) -> list[str]:
    """What a source says in one of its lists; a user's manifest may have a column of the same name, but no lists."""
    told = record.attributes.get(attribute)
    return told if isinstance(told, list) else []


def _counts(tally: _Tally, source: str) -> tuple[SurveyCount, ...]:
    counts = []
    for dataset, modality in _groups(tally, source):
        published = published_counts(dataset, source).get(modality, {})
        splits = [*_SPLITS, *([None] if tally.counts[dataset, modality, None] else [])]
        counts += [
            SurveyCount(
                dataset,
                modality,
                split,
                tally.counts[dataset, modality, split],
                None if split is None else published.get(split),
            )
            for split in splits
        ]
    return tuple(counts)


def _classes(tally: _Tally, source: str) -> tuple[SurveyClasses, ...]:
    classes = []
    for dataset, modality in _groups(tally, source):
        published = published_counts(dataset, source).get(modality, {})
        kinds = Counter(label.kind for label in tally.classes.get((dataset, modality), ()))
        classes.append(
            SurveyClasses(
                dataset,
                modality,
                kinds["pathology"],
                kinds["anatomy"],
                published.get("pathology"),
                published.get("anatomy"),
            )
        )
    return tuple(classes)


def _groups(tally: _Tally, source: str) -> list[tuple[str, str]]:
    """Datasets and modalities that are there, and those that the paper has of the same datasets."""
    datasets = {dataset for dataset, _ in tally.classes} or ({source} if source in _table() else set())
    expected = {(dataset, modality) for dataset in datasets for modality in published_counts(dataset, source)}
    return sorted(expected | tally.classes.keys())


def published_counts(dataset: str, source: str) -> dict[str, dict[str, int]]:
    """Per modality of a dataset, or else of the source that it comes from, the published numbers."""
    return _table().get(dataset.casefold()) or _table().get(source, {})


@cache
def _table() -> dict[str, dict[str, dict[str, int]]]:
    text = files(__package__).joinpath("published_counts.csv").read_text(encoding="utf-8")
    table: dict[str, dict[str, dict[str, int]]] = defaultdict(dict)
    for row in csv.DictReader(text.splitlines()):
        numbers = {column: int(row[column]) for column in (*_SPLITS, "pathology", "anatomy")}
        for name in filter(None, (row["dataset"], row["also"])):
            table[name][row["modality"]] = numbers
    return dict(table)
