"""Records to rows: open every file once, merge batches into the catalogue, keep what was rejected with its reason."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from medcbir.ingest.merge import LONGEST_NAME, LONGEST_URI, Batch, json, keys_of, names_of
from medcbir.ingest.pool import Failure, WorkerPool
from medcbir.interrupts import held_back
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Entry, ImageRecord, IngestReport, Progress, Rejection, Silent

_FILES_PER_BATCH = 256  # kill -9 can cost two batches
_FILES_TOGETHER = 8  # handed to a worker at a time
_ROWS_PER_BATCH = 4096  # of records without files
_TOLD = 5  # rejections that the report names
_REPEATED = "listed more than once; the first row counts (write several findings of an image as a|b)"
_FINGERPRINT_VERSION = 2  # raise it when decoding changes, so that files are looked at again


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

    Every batch is one transaction, and one is written while the next is read: a killed call (kill -9) loses at most
    these two, and a further call goes on. Ctrl-C keeps what has been opened, and is told in the report.
    """
    started = time.perf_counter()
    interrupted = False
    connection.execute(query("create_incoming"))
    asked_at = connection.execute("SELECT clock_timestamp()").fetchone()
    arriving = iter(records)
    progress = progress or Silent()
    progress.begin("catalogue", "files", None)
    with (
        WorkerPool("inspect", together=_FILES_TOGETHER) as pool,
        ThreadPoolExecutor(1, thread_name_prefix="medcbir-write") as writing,
    ):
        filling = _Filling(connection, pool, writing, hash_key, max_pixels, progress)
        tally = filling.tally
        try:
            while batch := _next_batch(arriving):
                filling.take(batch)
            filling.settle()
            if manifest is not None and asked_at is not None:
                connection.execute(
                    query("forget_mended_rows"),
                    {"manifest": manifest, "datasets": list(tally.datasets), "asked_at": asked_at[0]},
                )
        except KeyboardInterrupt:
            interrupted = True
            filling.settle()
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


class _Filling:
    """One call of `fill`: a batch is written in a thread of its own while the next is read."""

    def __init__(
        self,
        connection: Connection,
        pool: WorkerPool,
        writing: ThreadPoolExecutor,
        hash_key: bytes,
        max_pixels: int,
        progress: Progress,
    ) -> None:
        self.tally = _Tally()
        self._connection = connection
        self._pool = pool
        self._writing = writing
        self._hash_key = hash_key
        self._max_pixels = max_pixels
        self._progress = progress
        self._written: Future[None] | None = None

    def take(self, items: list[ImageRecord | Rejection]) -> None:
        """Read a batch and have it written; after Ctrl-C what has been opened of it, and `KeyboardInterrupt`."""
        batch = self._sift(items)
        prints = [_fingerprint(record) for record in batch.looked_at]
        self.settle()
        with held_back():  # within a statement it can leave the connection unfit for the next one
            changed = self._changed(batch.looked_at, prints)
        self._progress.advance(len(items) - len(changed))
        interrupted = False
        try:
            self._open(changed, batch)
        except KeyboardInterrupt:
            interrupted = True
        with held_back():  # within, it would leave a thread that writes and that nothing waits for
            self._written = self._writing.submit(self._write, batch)
        if interrupted:
            raise KeyboardInterrupt

    def settle(self) -> None:
        """Wait for the batch that is being written."""
        if self._written is not None:
            self._written.result()

    def _write(self, batch: Batch) -> None:
        """Write it and count it, in the writing thread: Ctrl-C, which the main thread gets, cannot come between."""
        added = batch.write(self._connection)
        ignored = sum(rejection.kind == "not_an_image" for rejection in batch.rejections)
        self.tally.added += added
        self.tally.updated += len(batch.entries) - added
        self.tally.ignored += ignored
        self.tally.rejected += len(batch.rejections) - ignored
        told = (rejection for rejection in batch.rejections if rejection.kind != "not_an_image")
        self.tally.first_rejected += islice(told, _TOLD - len(self.tally.first_rejected))

    def _sift(self, items: list[ImageRecord | Rejection]) -> Batch:
        """The records that can be stored and were not met before, and the rejections."""
        batch = Batch()
        for item in items:
            self.tally.datasets.add(item.dataset)
            if isinstance(item, Rejection):
                batch.rejections.append(item)
            elif (unfit := _too_long(item)) is not None:
                batch.rejections.append(Rejection(item.uri, item.dataset, unfit, kind="invalid"))
            elif self.tally.is_new(item):
                batch.looked_at.append(item)
            else:
                batch.rejections.append(Rejection(item.uri, item.dataset, _REPEATED, kind="invalid"))
        return batch

    def _changed(self, records: list[ImageRecord], prints: list[bytes]) -> list[tuple[ImageRecord, bytes]]:
        """Those of which the catalogue holds another fingerprint, or none."""
        frames = {"frames": [record.frame or 0 for record in records]}
        known = self._connection.execute(query("known_fingerprints"), names_of(records) | frames).fetchall()
        changed = []
        for record, fingerprint, (stored, stored_frames) in zip(records, prints, known, strict=True):
            if fingerprint == stored:
                self.tally.unchanged += stored_frames if record.frame is None else 1
            else:
                changed.append((record, fingerprint))
        return changed

    def _open(self, changed: list[tuple[ImageRecord, bytes]], batch: Batch) -> None:
        """Entries of what has changed; files are opened by the pool."""
        files = [(record, fingerprint) for record, fingerprint in changed if record.path is not None]
        batch.entries += ((Entry(record, None), print_, False) for record, print_ in changed if record.path is None)
        self._progress.advance(len(changed) - len(files))
        opened = self._pool.map((record, self._hash_key, self._max_pixels) for record, _ in files)
        for (record, fingerprint), (_, answer) in zip(files, opened, strict=True):
            if isinstance(answer, Failure):
                batch.rejections.append(Rejection(record.uri, record.dataset, answer.reason))
            elif isinstance(answer, Rejection):
                batch.rejections.append(answer)
            else:
                batch.entries += ((entry, fingerprint, record.frame is None) for entry in answer)
            self._progress.advance(1)


def _fingerprint(record: ImageRecord) -> bytes:
    """SHA-256 of all that decides a record's rows: what its source says, and its file's size and time of change."""
    state: tuple[int, ...] = ()
    if record.path is not None:
        try:
            status = os.stat(record.path)  # noqa: PTH116
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            pass  # opening it will say what is wrong
    said = (
        _FINGERPRINT_VERSION,
        *(record.uri, record.dataset, record.path and str(record.path), record.frame, record.patient),
        *(record.study_uid, record.series_uid, record.instance_uid, record.modality, record.region, record.split),
        keys_of(record.labels),
        dict(record.attributes),
        state,
    )
    return hashlib.sha256(json(said).encode()).digest()


def _too_long(record: ImageRecord) -> str | None:
    """Why a record has no place in the catalogue's indexes, whose entries are bounded by a page's third."""
    names = [
        ("uri", record.uri, LONGEST_URI),
        ("dataset", record.dataset, LONGEST_NAME),
        ("patient", record.patient or "", LONGEST_NAME),
        *(("label", label.name, LONGEST_NAME) for label in record.labels),
    ]
    for what, name, most in names:
        if len(name) > most // 4 and len(name.encode()) > most:
            return f"its {what} is longer than {most} bytes"
    return None
