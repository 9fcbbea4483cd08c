"""Records to rows: open every file once, merge batches into the catalogue, keep what was rejected with its reason."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from psycopg.types.json import Jsonb

from medcbir.errors import printable
from medcbir.ingest.pool import Failure, WorkerPool
from medcbir.labels import label_key
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Entry, ImageRecord, IngestReport, Progress, Rejection, Silent

_FILES_PER_BATCH = 256  # what kill -9 can cost
_ROWS_PER_BATCH = 4096  # of records without files
_TOLD = 5  # rejections that the report names
_LONGEST_URI, _LONGEST_NAME = 2000, 500  # bytes
_FINGERPRINT_VERSION = 1  # raise it when decoding changes, so that files are looked at again


@dataclass
class _Tally:
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    ignored: int = 0
    datasets: set[str] = field(default_factory=set)
    first_rejected: list[Rejection] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def is_new(self, record: ImageRecord) -> bool:
        """Whether no record before was of the same image; one of a whole file is of each of its frames."""
        image = (record.dataset, record.uri)
        whole, frames, this = hash((*image, None)), hash((*image, "frames")), hash((*image, record.frame))
        same = {whole, frames} if record.frame is None else {whole, this}
        if not self.seen.isdisjoint(same):
            return False
        self.seen |= {whole} if record.frame is None else {frames, this}
        return True


def fill(
    connection: Connection,
    records: Iterable[ImageRecord | Rejection],
    *,
    hash_key: bytes,
    max_pixels: int,
    manifest: str | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring the catalogue up to date with `records`; the same records again change nothing.

    `manifest` is the name of the table that `records` holds every row of: rows rejected earlier and mended since are no
    longer listed as rejected.

    Every batch is one transaction, so an interrupted call (Ctrl-C, kill -9) loses at most its batch and a further call
    goes on. Ctrl-C ends it cleanly and is told in the report.
    """
    progress = progress or Silent()
    tally = _Tally()
    started = time.perf_counter()
    interrupted = False
    connection.execute(query("create_incoming"))
    asked_at = connection.execute("SELECT clock_timestamp()").fetchone()
    arriving = iter(records)
    progress.begin("catalogue", "files", None)
    with WorkerPool("inspect") as pool:
        try:
            while batch := _next_batch(arriving):
                _fill_batch(connection, pool, batch, tally, hash_key, max_pixels, progress)
            if manifest is not None and asked_at is not None:
                connection.execute(
                    query("forget_mended_rows"),
                    {"manifest": manifest, "datasets": list(tally.datasets), "asked_at": asked_at[0]},
                )
        except KeyboardInterrupt:
            interrupted = True
    return IngestReport(
        tally.added,
        tally.updated,
        tally.unchanged,
        tally.rejected,
        tally.ignored,
        time.perf_counter() - started,
        interrupted,
        tuple(tally.first_rejected),
    )


def _next_batch(arriving: Iterator[ImageRecord | Rejection]) -> list[ImageRecord | Rejection]:
    head = list(islice(arriving, _FILES_PER_BATCH))
    if any(isinstance(item, ImageRecord) and item.path is not None for item in head):
        return head
    return head + list(islice(arriving, _ROWS_PER_BATCH - _FILES_PER_BATCH))


def _fill_batch(
    connection: Connection,
    pool: WorkerPool,
    batch: list[ImageRecord | Rejection],
    tally: _Tally,
    hash_key: bytes,
    max_pixels: int,
    progress: Progress,
) -> None:
    tally.datasets |= {item.dataset for item in batch}
    rejections = [item for item in batch if isinstance(item, Rejection)]
    records: list[ImageRecord] = []
    for record in (item for item in batch if isinstance(item, ImageRecord)):
        if (unfit := _too_long(record)) is not None:
            rejections.append(Rejection(record.uri, record.dataset, unfit, kind="invalid"))
        elif tally.is_new(record):
            records.append(record)
        else:
            reason = "listed more than once; the first row counts (write several findings of an image as a|b)"
            rejections.append(Rejection(record.uri, record.dataset, reason, kind="invalid"))

    changed = []
    for record, (known, frames) in zip(records, _known(connection, records), strict=True):
        print_ = _fingerprint(record)
        if print_ == known:
            tally.unchanged += frames if record.frame is None else 1
        else:
            changed.append((record, print_))
    progress.advance(len(batch) - len(changed))

    incoming: list[tuple[Entry, bytes, bool]] = []
    interrupted = False
    try:
        results = pool.map((record, hash_key, max_pixels) for record, _ in changed if record.path is not None)
        for record, print_ in changed:
            answer = next(results)[1] if record.path is not None else [Entry(record, None)]
            if isinstance(answer, Failure):
                rejections.append(Rejection(record.uri, record.dataset, answer.reason))
            elif isinstance(answer, Rejection):
                rejections.append(answer)
            else:
                whole_file = record.frame is None and record.path is not None
                incoming += ((entry, print_, whole_file) for entry in answer)
            progress.advance(1)
    except KeyboardInterrupt:
        interrupted = True  # what has been opened is kept

    with connection.transaction():
        connection.execute(query("forget_rejections"), _names(records))
        added = _merge(connection, incoming) if incoming else 0
        with connection.cursor() as cursor:
            cursor.executemany(query("reject"), [_rejected(rejection) for rejection in rejections])
    tally.added += added
    tally.updated += len(incoming) - added
    ignored = sum(rejection.kind == "not_an_image" for rejection in rejections)
    tally.ignored += ignored
    tally.rejected += len(rejections) - ignored
    told = (rejection for rejection in rejections if rejection.kind != "not_an_image")
    tally.first_rejected += islice(told, _TOLD - len(tally.first_rejected))
    if interrupted:
        raise KeyboardInterrupt


def _known(connection: Connection, records: list[ImageRecord]) -> list[tuple[bytes | None, int]]:
    """Of each record, the fingerprint that the catalogue holds, and how many frames of its file it has."""
    frames = {"frames": [record.frame or 0 for record in records]}
    return connection.execute(query("known_fingerprints"), _names(records) | frames).fetchall()


def _names(records: list[ImageRecord]) -> dict[str, list[Any]]:
    return {"datasets": [record.dataset for record in records], "uris": [record.uri for record in records]}


def _fingerprint(record: ImageRecord) -> bytes:
    """SHA-256 of all that decides a record's rows: what its source says, and its file's size and time of change."""
    state: tuple[int, ...] = ()
    if record.path is not None:
        try:
            status = os.stat(record.path)  # noqa: PTH116
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            pass  # opening it will say what is wrong
    said = [
        _FINGERPRINT_VERSION,
        *(record.uri, record.dataset, record.path and str(record.path), record.frame, record.patient),
        *(record.study_uid, record.series_uid, record.instance_uid, record.modality, record.region, record.split),
        sorted(label_key(label.name) for label in record.labels),
        dict(record.attributes),
        state,
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).digest()


def _merge(connection: Connection, incoming: list[tuple[Entry, bytes, bool]]) -> int:
    """Write entries; return how many images are new. A vector of a changed file that is being written is waited for."""
    connection.execute("TRUNCATE incoming")
    with connection.cursor() as cursor:
        with cursor.copy("COPY incoming FROM STDIN") as copy:
            for position, (entry, print_, whole) in enumerate(incoming):
                copy.write_row(_row(position, entry, print_, whole))
        cursor.execute(query("merge_names"))
        cursor.execute(query("lock_incoming"))
        labels = {label_key(label.name): label for entry, _, _ in incoming for label in entry.record.labels}
        cursor.executemany(
            query("merge_label"),
            [
                {
                    "name": label.name,
                    "key": key,
                    "modality": label.modality,
                    "region": label.region,
                    "finding": label.finding,
                    "kind": label.kind,
                }
                for key, label in sorted(labels.items())
            ],
        )
        counted = cursor.execute(query("merge_images")).fetchone()
        cursor.execute(query("merge_image_labels"))
    return int(counted[0]) if counted else 0


def _row(position: int, entry: Entry, print_: bytes, whole: bool) -> tuple[Any, ...]:
    record, facts = entry.record, entry.facts
    first = record.labels[0] if record.labels else None
    return (
        *(position, record.dataset, record.patient, record.uri, record.frame or 0),
        None if record.path is None else str(record.path),
        *(record.modality or (first and first.modality), record.region or (first and first.region), record.split),
        *(record.study_uid, record.series_uid, record.instance_uid),
        *((facts and (facts.width, facts.height, facts.file_sha256, facts.pixel_sha256)) or (None,) * 4),
        *(print_, Jsonb(dict(record.attributes)), [label_key(label.name) for label in record.labels], whole),
    )


def _too_long(record: ImageRecord) -> str | None:
    """Why a record has no place in the catalogue's indexes, whose entries are bounded by a page's third."""
    names = [
        ("uri", record.uri, _LONGEST_URI),
        *((what, name, _LONGEST_NAME) for what, name in (("dataset", record.dataset), ("patient", record.patient))),
        *(("label", label.name, _LONGEST_NAME) for label in record.labels),
    ]
    for what, name, most in names:
        if name is not None and len(name) > most // 4 and len(name.encode()) > most:
            return f"its {what} is longer than {most} bytes"
    return None


def _cut(name: str, most: int) -> str:
    """`name` in at most so many bytes; of a longer one the beginning, and a digest of the whole."""
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: most - 20].decode(errors='ignore')}... {digest}"


def _rejected(rejection: Rejection) -> dict[str, str | None]:
    return {
        "stage": "ingest",
        "encoder_id": None,
        "dataset": _cut(rejection.dataset, _LONGEST_NAME),
        "uri": _cut(rejection.uri, _LONGEST_URI),
        "frame": None,
        "kind": rejection.kind,
        "reason": printable(rejection.reason),
    }
