"""One batch into the catalogue: COPY into a staging table, then images, labels and rejections, in one transaction."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from json import JSONEncoder
from typing import Any

from medcbir.errors import printable
from medcbir.labels import label_key
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Entry, ImageRecord, Label, Rejection

LONGEST_URI, LONGEST_NAME = 2000, 500
"""Bytes that fit the catalogue's indexes, whose entries are bounded by a page's third."""

json = JSONEncoder(sort_keys=True, default=str).encode


@dataclass
class Batch:
    """What is to be written: `entries` with the fingerprint of their record, and whether they are all of their file.

    `looked_at` are the records that were read; what was rejected of them earlier is forgotten.
    """

    looked_at: list[ImageRecord] = field(default_factory=list)
    entries: list[tuple[Entry, bytes, bool]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def write(self, connection: Connection) -> int:
        """Write it; return how many images are new. A vector of a changed file that is being written is waited for."""
        with connection.transaction():
            connection.execute(query("forget_rejections"), names_of(self.looked_at))
            added = self._merge(connection) if self.entries else 0
            with connection.cursor() as cursor:
                cursor.executemany(query("reject"), [_rejected(rejection) for rejection in self.rejections])
        return added

    def _merge(self, connection: Connection) -> int:
        sets: dict[tuple[str, ...], int] = {}  # many images have the same labels
        connection.execute("TRUNCATE incoming")
        with connection.cursor() as cursor:
            with cursor.copy("COPY incoming FROM STDIN") as copy:
                for position, (entry, fingerprint, whole_file) in enumerate(self.entries):
                    labels = sets.setdefault(keys_of(entry.record.labels), len(sets))
                    copy.write_row((position, *_row(entry, fingerprint), labels, whole_file))
            cursor.execute(query("merge_names"))
            cursor.execute(query("lock_incoming"))
            cursor.executemany(query("merge_label"), self._labels())
            members = [(number, key) for keys, number in sets.items() for key in keys]
            counted = cursor.execute(
                query("merge_images"),
                {"label_sets": [number for number, _ in members], "label_keys": [key for _, key in members]},
            ).fetchone()
        return int(counted[0]) if counted else 0

    def _labels(self) -> list[dict[str, str | None]]:
        """Every label once, as it is spelled first."""
        by_key: dict[str, Label] = {}
        for label in dict.fromkeys(label for entry, _, _ in self.entries for label in entry.record.labels):
            by_key.setdefault(label_key(label.name), label)
        return [
            {
                "name": label.name,
                "key": key,
                "modality": label.modality,
                "region": label.region,
                "finding": label.finding,
                "kind": label.kind,
            }
            for key, label in sorted(by_key.items())
        ]


def names_of(records: list[ImageRecord]) -> dict[str, list[Any]]:
    """Datasets and uris of records, as several queries take them."""
    return {"datasets": [record.dataset for record in records], "uris": [record.uri for record in records]}


@lru_cache(maxsize=65536)  # a dataset repeats few combinations
def keys_of(labels: tuple[Label, ...]) -> tuple[str, ...]:
    """The labels' keys in order, under which spellings of a label are the same."""
    return tuple(sorted(label_key(label.name) for label in labels))


def _row(entry: Entry, fingerprint: bytes) -> tuple[Any, ...]:
    record, facts = entry.record, entry.facts
    first = record.labels[0] if record.labels else None
    return (
        *(record.dataset, record.patient, record.uri, record.frame or 0),
        None if record.path is None else str(record.path),
        *(record.modality or (first and first.modality), record.region or (first and first.region), record.split),
        *(record.study_uid, record.series_uid, record.instance_uid),
        *((facts and (facts.width, facts.height, facts.file_sha256, facts.pixel_sha256)) or (None,) * 4),
        *(fingerprint, json(dict(record.attributes))),
    )


def _rejected(rejection: Rejection) -> dict[str, str | None]:
    return {
        "stage": "ingest",
        "encoder_id": None,
        "dataset": _cut(rejection.dataset, LONGEST_NAME),
        "uri": _cut(rejection.uri, LONGEST_URI),
        "frame": None,
        "kind": rejection.kind,
        "reason": printable(rejection.reason),
    }


def _cut(name: str, most: int) -> str:
    """`name` in at most so many bytes; of a longer one the beginning, and a digest of the whole."""
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: most - 20].decode(errors='ignore')}... {digest}"
