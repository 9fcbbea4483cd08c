"""A PACS over DICOMweb: studies, series and instances by QIDO-RS, each instance by WADO-RS (PS3.18 10.6 and 10.4).

An instance is fetched once: later calls find its file in the store. Of what the server says about it the UIDs and the
modality are kept; its file is described like any other DICOM file. Patience is for servers that are busy or away;
anything else that is wrong with one is told in a line that repeats neither its words nor the header sent to it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from medcbir.errors import InputError, SourceAwayError, StoreFullError
from medcbir.labels import coded_modality
from medcbir.sources import Options, Pacs, Source, Url
from medcbir.sources._instances import InstanceStore, is_uid
from medcbir.types import ImageRecord, Rejection

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

_PAGE = 500
_FETCHES = 4  # at a time
_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of an answer
_FIRST_PAUSE = 0.5  # seconds; each is twice the one before
_LONGEST_PAUSE = 120.0  # that a server may ask for
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_CHUNK = 2**18
_LONGEST_HEAD = 2**16  # of a part of a multipart message
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # as it is stored there
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_MODALITY, _INSTANCES_OF_STUDY = "00080060", "00201208"

logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())  # it would print what a server warns of


class _RefusedError(Exception):
    """What the server has said to one request, as a reason; another request may fare better."""


class _GivenUpError(Exception):
    """The caller has gone."""


class _Server:
    """Asks a PACS, with patience."""

    def __init__(self, url: str, authorization: str | None, patience: float) -> None:
        try:
            import requests
            from dicomweb_client import DICOMwebClient
        except ImportError:
            raise InputError("a PACS over DICOMweb needs more packages: pip install 'medcbir[dicom]'") from None
        self.url = url
        self.gone = threading.Event()
        self._patience = patience
        self._session = requests.Session()
        self._session.auth = _header(authorization)
        try:
            self.client = DICOMwebClient(url, session=self._session, permissive_uid=True, timeout=_TIMEOUT)
        except ValueError:
            raise InputError(f"{url} is not a usable URL") from None
        self.client.set_http_retry_params(retry=False)  # it cannot wait for as long as a server asks

    def found(self, search: Callable[..., list[dict[str, Any]]], key: str, *of: str, **asked: Any) -> Iterator[Any]:
        """All that a QIDO-RS search finds, page by page, each once by the UID at `key`."""
        seen: set[str] = set()
        offset = 0
        while True:
            try:
                page = self.patiently(lambda: search(*of, limit=_PAGE, offset=offset, **asked))  # noqa: B023
                answers = {str(_value(answer, key)): answer for answer in page}
            except _RefusedError as refused:
                raise InputError(f"{self.url} {refused}: give the URL that its DICOMweb service starts at") from None
            except (AttributeError, TypeError, ValueError):  # a page for people, or JSON of another kind
                raise InputError(f"{self.url} answers, but not as a DICOMweb server does") from None
            new = [answer for uid, answer in answers.items() if uid not in seen]
            if not new:
                return
            yield from new
            seen |= answers.keys()
            offset += len(page)

    def fetch(self, uri: str, instance_uid: str, store: InstanceStore) -> None:
        """Bring an instance into the store, a piece at a time; `_RefusedError` says why the server does not give it."""
        try:
            self.patiently(lambda: self._fetch_once(uri, instance_uid, store))
        except OSError as error:
            raise StoreFullError(f"cannot write to {store.drafts}: {error.strerror or type(error).__name__}") from None

    def _fetch_once(self, uri: str, instance_uid: str, store: InstanceStore) -> None:
        store.require_room()
        with self._session.get(uri, headers={"Accept": _ACCEPT}, stream=True, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            with store.draft() as draft:
                size = 0
                for piece in _first_part(response):
                    size += draft.write(piece)
                    if self.gone.is_set():
                        raise _GivenUpError
                    if size > store.max_instance_bytes:
                        raise _RefusedError("is larger than MEDCBIR_INSTANCE_MAX_BYTES allows")
                draft.flush()
                with Path(draft.name).open("rb") as written:
                    if written.read(132)[128:] != b"DICM":
                        raise _RefusedError("is not sent as a DICOM file")
                store.keep(Path(draft.name), instance_uid)

    def patiently(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, tried again with growing pauses while the server is busy or away."""
        import requests

        for pause in (*_pauses(self._patience), None):
            try:
                return ask()
            except requests.exceptions.SSLError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise InputError(
                        f"{self.url} has no certificate that is trusted here; for a hospital's own authority set "
                        "REQUESTS_CA_BUNDLE to its file"
                    ) from None
                raise InputError(
                    f"{self.url} does not speak TLS as expected; is it http:// that serves there?"
                ) from None
            except requests.HTTPError as error:
                answer = cast("requests.Response", error.response)  # what the status was read from
                status = answer.status_code
                if status in (401, 403):
                    raise InputError(
                        f"{self.url} refuses access (HTTP {status}); put what its Authorization header must say into "
                        "MEDCBIR_DICOMWEB_AUTHORIZATION"
                    ) from None
                if status not in _BUSY or (pause is None and status == 500):
                    raise _RefusedError(f"answers HTTP {status}") from None
                asked, what = _asked_to_wait(answer), f"answers HTTP {status}"
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
                requests.exceptions.ContentDecodingError,
            ):
                asked, what = 0.0, "cannot be reached"
            except requests.exceptions.JSONDecodeError:
                raise ValueError from None
            except requests.RequestException as error:
                raise InputError(f"{self.url} cannot be asked: {type(error).__name__}") from None
            if pause is None:
                break
            if self.gone.wait(max(pause, asked)):
                raise _GivenUpError
        raise SourceAwayError(f"{self.url} {what}; once it is back, the same command goes on")


def _pauses(patience: float) -> Iterator[float]:
    """Seconds before each further try, `patience` in all."""
    pause = _FIRST_PAUSE
    while patience > 0:
        yield min(pause, patience)
        patience -= pause
        pause *= 2


def _header(authorization: str | None) -> Callable[["requests.PreparedRequest"], "requests.PreparedRequest"]:
    """Puts the header on a request; also where there is none, so that no password file is looked into."""
    said = None if authorization is None else authorization.strip()
    if said is not None and not (said.isascii() and said.isprintable()):
        raise InputError("MEDCBIR_DICOMWEB_AUTHORIZATION must be one line of ASCII characters")

    def put(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        if said:
            request.headers["Authorization"] = said
        return request

    return put


def _asked_to_wait(response: "requests.Response") -> float:
    """Seconds that `Retry-After` asks for (RFC 9110 10.2.3), within bounds; 0 without it."""
    text = response.headers.get("Retry-After", "")
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def _first_part(response: "requests.Response") -> Iterator[bytes]:
    """The content of a multipart message's first part, a piece at a time; the whole body where it is plain DICOM."""
    import requests

    pieces: Iterator[bytes] = response.iter_content(_CHUNK)
    content = Message()
    content["Content-Type"] = response.headers.get("Content-Type", "")
    if content.get_content_type() == "application/dicom":
        yield from pieces
        return
    boundary = content.get_boundary()
    if content.get_content_type() != "multipart/related" or not boundary:
        raise _RefusedError("is not sent as a DICOM file")
    head, rest = b"", b""
    while not rest:
        piece = next(pieces, b"")
        before, end, rest = (head := head + piece).partition(b"\r\n\r\n")
        if len(before) > _LONGEST_HEAD:
            raise _RefusedError("is not sent as a DICOM file")
        if not piece and not end:
            raise requests.exceptions.ChunkedEncodingError
        if end and not rest:
            rest = next(pieces, b"")
            break
    delimiter = b"\r\n--" + boundary.encode()
    while (end_at := rest.find(delimiter)) < 0:
        certain = max(len(rest) - len(delimiter), 0)
        yield rest[:certain]
        piece = next(pieces, b"")
        if not piece:
            raise requests.exceptions.ChunkedEncodingError  # it breaks off before the part ends
        rest = rest[certain:] + piece
    yield rest[:end_at]


def _value(answer: dict[str, Any], key: str) -> Any:
    """The first value of an element in DICOM JSON; None where there is none."""
    values = answer.get(key, {}).get("Value") or [None]
    return values[0]


def _listed(server: _Server, pacs: Pacs, options: Options) -> Iterator[ImageRecord | Rejection]:
    """Every instance that the server finds, not fetched yet."""
    dataset = options.name or urlsplit(server.url).hostname or "dicomweb"
    client = server.client
    studies = {} if pacs.since is None else {"StudyDate": f"{pacs.since:%Y%m%d}-"}
    series_of = {} if pacs.modality is None else {"Modality": pacs.modality}
    if pacs.modality is not None:
        studies["ModalitiesInStudy"] = pacs.modality
    fields = ["NumberOfStudyRelatedInstances"]
    for study in server.found(client.search_for_studies, _STUDY, search_filters=studies, fields=fields):
        study_uid, instances = str(_value(study, _STUDY)), _value(study, _INSTANCES_OF_STUDY)
        if not is_uid(study_uid):
            yield Rejection(server.url, dataset, "the server lists a study without a valid UID", kind="invalid")
            continue
        if instances is not None and pacs.looked_at.get(study_uid) == instances:
            continue
        for series in server.found(client.search_for_series, _SERIES, study_uid, search_filters=series_of):
            series_uid, modality = str(_value(series, _SERIES)), _value(series, _MODALITY)
            if not is_uid(series_uid) or (pacs.modality is not None and modality not in (None, pacs.modality)):
                continue  # some servers search by the study alone
            place = f"{server.url}/studies/{study_uid}/series/{series_uid}/instances"
            for instance in server.found(client.search_for_instances, _INSTANCE, study_uid, series_uid):
                instance_uid = str(_value(instance, _INSTANCE))
                if not is_uid(instance_uid):
                    yield Rejection(place, dataset, "the server lists an instance without a valid UID", kind="invalid")
                    continue
                yield ImageRecord(
                    uri=f"{place}/{instance_uid}",
                    dataset=dataset,
                    path=None if options.metadata_only else pacs.store.path_of(instance_uid),
                    study_uid=study_uid,
                    series_uid=series_uid,
                    instance_uid=instance_uid,
                    modality=coded_modality(str(modality or "")),
                    split=options.split,
                )
        pacs.looked_at[study_uid] = instances


def _records(url: Url, options: Options) -> Iterator[ImageRecord | Rejection]:
    pacs = options.pacs
    if pacs is None:
        raise InputError("a PACS needs a store for its instances")
    server = _Server(url, None if pacs.authorization is None else pacs.authorization.get_secret_value(), pacs.patience)
    return _listed(server, pacs, options) if options.metadata_only else _fetched(server, pacs, options)


def _fetched(server: _Server, pacs: Pacs, options: Options) -> Iterator[ImageRecord | Rejection]:
    """What is listed, in that order, each instance when its file is there."""
    store = pacs.store
    store.open()
    store.clear_drafts()

    def bring(item: ImageRecord | Rejection) -> ImageRecord | Rejection:
        if isinstance(item, ImageRecord) and item.path is not None and item.instance_uid is not None:
            try:
                if not item.path.exists():
                    server.fetch(item.uri, item.instance_uid, store)
            except _RefusedError as refused:
                return Rejection(item.uri, item.dataset, str(refused))
        return item

    refused: set[str] = set()
    pending: deque[tuple[ImageRecord | Rejection, Future[ImageRecord | Rejection]]] = deque()
    threads = ThreadPoolExecutor(_FETCHES, thread_name_prefix="medcbir-fetch")

    def first() -> ImageRecord | Rejection:
        item, future = pending.popleft()
        brought = future.result()
        if isinstance(item, ImageRecord) and isinstance(brought, Rejection) and item.study_uid is not None:
            refused.add(item.study_uid)
        return brought

    try:
        for item in _listed(server, pacs, options):
            pending.append((item, threads.submit(bring, item)))
            if len(pending) > 2 * _FETCHES:
                yield first()
        while pending:
            yield first()
    finally:
        server.gone.set()
        threads.shutdown(wait=True, cancel_futures=True)
        for study_uid in refused:
            pacs.looked_at.pop(study_uid, None)  # asked for again


def _no_files(path: Path, _: Options) -> Iterator[ImageRecord | Rejection]:
    raise InputError(f"{path} is not the URL of a DICOMweb server; such a one starts with https:// or http://")


SOURCE = Source(
    name="dicomweb",
    title="a PACS over DICOMweb, by its URL",
    recognises=lambda _: False,
    records=_no_files,
    records_at=_records,
)
