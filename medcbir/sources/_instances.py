"""Instances that a PACS has given, as files: named by digests, there as a whole or not at all, up to a limit.

    pacs/drafts/       being written; what nobody has written to for an hour is removed
    pacs/incoming/     pushed to the receiver and not catalogued yet
    pacs/stored/ab/    the rest, where the catalogue's paths lead

A name is the SHA-256 of the SOP Instance UID. Only the owner can open these files: they hold headers as they came.
"""

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from medcbir.errors import StoreFullError

_RESERVE = 2**30  # bytes left free on the disk, which the database may share
_SECONDS_OF_A_DRAFT = 3600.0
_NAME = re.compile(r"[0-9a-f]{64}\.dcm")
_UID = re.compile(r"[0-9.]{1,64}")


def is_uid(text: str) -> bool:
    """Whether it can be a UID (PS3.5 9.1; leading zeros occur and are let pass), so that a URL may carry it."""
    return _UID.fullmatch(text) is not None


class InstanceStore:
    """The folder; any thread and any process may write to it."""

    def __init__(self, folder: Path, *, max_bytes: int, max_instance_bytes: int) -> None:
        self.max_instance_bytes = max_instance_bytes
        self.drafts = folder / "drafts"
        self._folder = folder
        self._incoming = folder / "incoming"
        self._stored = folder / "stored"
        self._max_bytes = max_bytes
        self._used: int | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folders, for their owner alone."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder, self.drafts, self._incoming, self._stored):
            folder.mkdir(mode=0o700, exist_ok=True)

    def path_of(self, instance_uid: str) -> Path:
        """Where an instance is once it is stored."""
        name = _name(instance_uid)
        return self._stored / name[:2] / name

    def holds(self, instance_uid: str) -> bool:
        """Whether the instance is stored or incoming."""
        return self.path_of(instance_uid).exists() or (self._incoming / _name(instance_uid)).exists()

    @contextmanager
    def draft(self) -> Iterator[IO[bytes]]:
        """A file to write an instance to, gone after the block unless it was kept."""
        self.open()
        with NamedTemporaryFile(dir=self.drafts, suffix=".dcm", delete=False) as file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def keep(self, draft: Path, instance_uid: str) -> None:
        """Store a written draft, to last through a power cut; `StoreFullError` where there is no room for it."""
        self._place(draft, self.path_of(instance_uid))

    def accept(self, draft: Path, instance_uid: str) -> None:
        """As `keep`, but among the incoming: it is not forgotten before `settle`, whatever happens to the process."""
        self._place(draft, self._incoming / _name(instance_uid))

    def incoming(self, most: int) -> list[Path]:
        """At most so many incoming files, each of which is stored too by now."""
        found: list[Path] = []
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    found.append(Path(entry.path))
                if len(found) == most:
                    break
        for file in found:
            target = self.stored(file)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileExistsError):
                os.link(file, target)
        for folder in {self.stored(file).parent for file in found}:
            _sync(folder)
        return found

    def stored(self, incoming: Path) -> Path:
        """Where an incoming file is stored."""
        return self._stored / incoming.name[:2] / incoming.name

    def settle(self, incoming: Iterable[Path]) -> None:
        """Say that these files are catalogued."""
        for file in incoming:
            file.unlink(missing_ok=True)

    def clear_drafts(self) -> None:
        """Remove what transfers that were broken off have left."""
        for draft in self.drafts.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > _SECONDS_OF_A_DRAFT:
                    draft.unlink()

    def require_room(self, size: int = 0) -> None:
        """Raise `StoreFullError` unless so many bytes more may be kept."""
        with self._lock:
            self._require_room(size)

    def _require_room(self, size: int) -> int:
        """As `require_room`; returns how many bytes are kept."""
        if self._used is None:
            folders = (self._stored, self._incoming)
            self._used = sum(file.stat().st_size for folder in folders for file in folder.rglob("*.dcm"))
        if self._used + size > self._max_bytes:
            raise StoreFullError(
                f"{self._folder} holds {self._used / 2**30:.1f} GiB, and MEDCBIR_PACS_MAX_BYTES allows "
                f"{self._max_bytes / 2**30:.1f}: raise it, or narrow what is asked for"
            )
        if shutil.disk_usage(self._folder).free < size + _RESERVE:
            raise StoreFullError(f"the disk of {self._folder} is full: 1 GiB is left to the database")
        return self._used

    def _place(self, draft: Path, target: Path) -> None:
        size = draft.stat().st_size
        with self._lock:  # counted before it is there, so that threads together stay within the limit
            self._used = self._require_room(size) + size
        target.parent.mkdir(mode=0o700, exist_ok=True)
        _sync(draft)
        draft.replace(target)
        _sync(target.parent)


def _name(instance_uid: str) -> str:
    return f"{hashlib.sha256(instance_uid.encode()).hexdigest()}.dcm"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
