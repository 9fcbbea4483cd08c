"""A DICOM storage provider (C-STORE and C-ECHO, PS3.4 annexes A and B): what is pushed here is catalogued.

An instance is acknowledged once its file has reached the disk, under a name that lasts; the catalogue follows in
batches. So a process that is killed loses nothing that it has acknowledged: the next one catalogues it first. Nothing
that a peer says is logged.
"""

import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.filereader import read_file_meta_info

from medcbir.errors import InputError, MedcbirError, StoreFullError
from medcbir.sources import InstanceStore
from medcbir.sources._instances import is_uid
from medcbir.types import ImageRecord, IngestReport

if TYPE_CHECKING:
    from pynetdicom.events import Event

_SUCCESS, _INVALID_INSTANCE, _OUT_OF_RESOURCES = 0x0000, 0x0117, 0xA700  # PS3.7 annex C, PS3.4 B.2.3
_BATCH = 512
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_AFTER_AN_ERROR = 10.0
_MAX_PDU = 2**17
_SECONDS_OF_SILENCE = 60.0
_TRANSFER_SYNTAXES = [
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),  # uncompressed
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 201, 202, 203)),
    "1.2.840.10008.1.2.5",  # RLE
]
"""What pydicom's decoders read; a video that is offered in no other syntax is refused at the association."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen and to whom: any calling AE title where `allow` is empty."""

    host: str = "127.0.0.1"
    port: int = 11112
    aet: str = "MEDCBIR"
    allow: Sequence[str] = ()
    max_associations: int = 10


@dataclass
class _Arrivals:
    """What the threads of the associations tell the one that catalogues."""

    store: InstanceStore
    some: threading.Event = field(default_factory=threading.Event)
    refused: str | None = None

    def take(self, event: "Event") -> int:
        """The status of a C-STORE request."""
        instance_uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        if not is_uid(instance_uid):
            return _INVALID_INSTANCE
        try:
            if not self.store.holds(instance_uid):
                self._keep(event.dataset_path, instance_uid)
        except StoreFullError as error:
            self.refused = str(error)
        except OSError as error:
            self.refused = f"cannot write to {self.store.drafts.parent}: {error.strerror}"
        else:
            self.some.set()
            return _SUCCESS
        return _OUT_OF_RESOURCES

    def _keep(self, file: Path, instance_uid: str) -> None:
        if file.stat().st_size > self.store.max_instance_bytes:
            raise StoreFullError("an instance is larger than MEDCBIR_INSTANCE_MAX_BYTES allows")
        self.store.accept(file, instance_uid)


def receive(
    store: InstanceStore,
    listener: Listener,
    catalogue: Callable[[list[ImageRecord]], IngestReport],
    dataset: str,
    on_listening: Callable[[int], None] | None = None,
) -> Generator[IngestReport | MedcbirError, None, None]:
    """What each batch became, or why it must wait, for as long as the caller goes on asking.

    What an earlier process has left is catalogued before the port is opened; `on_listening` is then told which it is.
    """
    store.open()
    while files := store.incoming(_BATCH):
        yield _catalogued(store, files, catalogue, dataset)
    with _listening(listener, store) as (arrivals, port):
        if on_listening is not None:
            on_listening(port)
        while True:
            arrivals.some.wait(_SECONDS_BETWEEN_LOOKS)
            arrivals.some.clear()
            store.clear_drafts()
            if arrivals.refused is not None:
                yield StoreFullError(f"instances were refused: {arrivals.refused}")
                arrivals.refused = None
            try:
                while files := store.incoming(_BATCH):
                    yield _catalogued(store, files, catalogue, dataset)
            except MedcbirError as error:  # what arrives is kept until the database is back
                yield error
                time.sleep(_SECONDS_AFTER_AN_ERROR)


def _catalogued(
    store: InstanceStore, files: list[Path], catalogue: Callable[[list[ImageRecord]], IngestReport], dataset: str
) -> IngestReport:
    report = catalogue([_record(file, store.stored(file), dataset) for file in files])
    if report.interrupted:
        raise KeyboardInterrupt
    store.settle(files)
    return report


def _record(incoming: Path, stored: Path, dataset: str) -> ImageRecord:
    instance_uid = str(read_file_meta_info(incoming).MediaStorageSOPInstanceUID)
    return ImageRecord(f"urn:oid:{instance_uid}", dataset, stored, instance_uid=instance_uid)


def _acknowledge_at_once(event: "Event") -> None:
    """Have the kernel not wait with its TCP acknowledgement, for which a peer holds back the rest of an instance.

    It forgets this after a while. Measured with storescu: 190 small instances a second instead of 19.
    """
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None and hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # it has been closed
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


@contextmanager
def _listening(listener: Listener, store: InstanceStore) -> Iterator[tuple[_Arrivals, int]]:
    """A server in threads of its own, and its port; data sets arrive as files of the store, not in memory."""
    try:
        from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
    except ImportError:
        raise InputError("receiving needs more packages: pip install 'medcbir[dicom]'") from None
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it names peers, and shows what they send
    arrivals = _Arrivals(store)
    try:
        entity = AE(ae_title=listener.aet)
        entity.require_calling_aet = list(listener.allow)
    except ValueError:
        raise InputError("an AE title has 1 to 16 characters of ASCII, without a backslash") from None
    entity.require_called_aet = True
    entity.maximum_associations = listener.max_associations
    entity.maximum_pdu_size = _MAX_PDU
    entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = _SECONDS_OF_SILENCE
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), _TRANSFER_SYNTAXES)
    entity.add_supported_context("1.2.840.10008.1.1")  # Verification
    before = _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir
    _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = True, str(store.drafts)
    try:
        try:
            server = entity.start_server(
                (listener.host, listener.port),
                block=False,
                evt_handlers=[
                    (evt.EVT_C_STORE, arrivals.take),
                    *((event, _acknowledge_at_once) for event in (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT)),
                ],
            )
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"cannot listen on {listener.host} port {listener.port}: {reason}") from None
        assert server is not None  # noqa: S101, it is None where the call blocks
        try:
            yield arrivals, int(server.server_address[1])
        finally:
            server.shutdown()
            entity.shutdown()
    finally:
        _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = before
