"""Servers that a real PACS does not show on demand: busy, cut off, ignorant of paging, hostile."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest

from medcbir.errors import InputError, SourceAwayError, StoreFullError
from medcbir.sources import InstanceStore, Options, Pacs, Url, find_source
from medcbir.types import ImageRecord, Rejection

CT = (Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm").read_bytes()
BOUNDARY = b"\r\n--edge of a part"
MULTIPART = 'multipart/related; type="application/dicom"; boundary="edge of a part"'
BODY = BOUNDARY[2:] + b"\r\nContent-Type: application/dicom\r\n\r\n" + CT + BOUNDARY + b"--\r\n"

Answer = tuple[int, dict[str, str], bytes]


class Fake:
    """A DICOMweb server of one study and one series; what it answers is to be changed by a test."""

    def __init__(self, base: str) -> None:
        self.url = Url(base)
        self.instances = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        self.page = 2
        self.asked: list[str] = []
        self.first: list[Answer] = []
        self.wado: Answer = (200, {"Content-Type": MULTIPART}, BODY)

    def answer(self, target: str) -> Answer:
        self.asked.append(target)
        if self.first:
            return self.first.pop(0)
        path = urlsplit(target).path
        if path.count("/instances/"):
            return self.wado
        keys = {"studies": ("0020000D", ["1.2"]), "series": ("0020000E", ["1.2.3"])}
        key, uids = keys.get(path.rsplit("/", 1)[1], ("00080018", self.instances))
        offset = int(parse_qs(urlsplit(target).query).get("offset", ["0"])[0])
        found = [{key: {"vr": "UI", "Value": [uid]}} for uid in uids[offset : offset + self.page]]
        return 200, {"Content-Type": "application/dicom+json"}, json.dumps(found).encode()


@pytest.fixture
def fake() -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = server_of.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server_of = Fake(f"http://127.0.0.1:{server.server_port}/dicom-web")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server_of
        server.shutdown()
        thread.join()


Read = Callable[..., list[ImageRecord | Rejection]]


@pytest.fixture
def read(fake: Fake, tmp_path: Path) -> Read:
    def listed(
        *, max_bytes: int = 2**30, max_instance_bytes: int = 2**20, pacs: Pacs | None = None, patience: float = 0.2
    ) -> list[object]:
        store = InstanceStore(tmp_path / "pacs", max_bytes=max_bytes, max_instance_bytes=max_instance_bytes)
        options = Options(name="d", pacs=pacs or Pacs(store, patience=patience))
        return list(find_source(fake.url).read(fake.url, options))

    return listed  # type: ignore[return-value]


def reasons(items: list[ImageRecord | Rejection]) -> set[str]:
    assert all(isinstance(item, Rejection) for item in items)
    return {item.reason for item in items if isinstance(item, Rejection)}


def test_every_page_is_asked_for_and_the_file_is_what_was_sent(fake: Fake, read: Read, tmp_path: Path) -> None:
    items = read()
    assert [item.uri.rpartition("/")[2] for item in items] == fake.instances
    for item in items:
        assert isinstance(item, ImageRecord)
        assert item.path is not None
        assert item.path.read_bytes() == CT
    assert list((tmp_path / "pacs" / "drafts").iterdir()) == []
    fake.asked.clear()
    assert read() == items
    assert not any("/instances/" in target for target in fake.asked)


@pytest.mark.parametrize("at", range(1, len(BOUNDARY) + 40))
def test_a_part_ends_where_it_ends_however_the_message_is_cut(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcbir.sources.dicomweb import _first_part

    class Response:
        headers = {"Content-Type": MULTIPART}  # noqa: RUF012

        def iter_content(self, _: int) -> Iterator[bytes]:
            yield from (BODY[start : start + at] for start in range(0, len(BODY), at))

    assert b"".join(_first_part(Response())) == CT  # type: ignore[arg-type]


def test_a_server_that_knows_no_offset_is_not_asked_for_ever(fake: Fake, read: Read) -> None:
    fake.page = 10
    whole = fake.answer
    fake.answer = lambda target: whole(target.partition("?")[0])  # type: ignore[method-assign]
    assert len(read()) == 3


def test_a_busy_server_is_asked_again_when_it_says(fake: Fake, read: Read) -> None:
    fake.first = [(503, {"Retry-After": "1"}, b""), (429, {}, b"")]
    started = time.monotonic()
    assert len(read(patience=1.0)) == 3
    assert time.monotonic() - started > 1.4


def test_a_server_that_stays_busy_is_away(fake: Fake, read: Read) -> None:
    fake.first = [(503, {}, b"")] * 20
    with pytest.raises(SourceAwayError, match=r"answers HTTP 503; once it is back"):
        read()


def test_what_breaks_off_is_fetched_anew_and_never_kept_in_part(fake: Fake, read: Read, tmp_path: Path) -> None:
    fake.wado = (200, {"Content-Type": MULTIPART}, BODY[: len(BODY) // 2])
    with pytest.raises(SourceAwayError):
        read()
    assert list((tmp_path / "pacs").rglob("*.dcm")) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, {}, b"a secret"), "answers HTTP 500"),
        ((404, {}, b"a secret"), "answers HTTP 404"),
        ((200, {"Content-Type": "text/html"}, b"<p>a secret"), "is not sent as a DICOM file"),
        ((200, {"Content-Type": "application/dicom"}, b"a secret" * 99), "is not sent as a DICOM file"),
        ((200, {"Content-Type": MULTIPART}, b"x" * 2**17), "is not sent as a DICOM file"),
        (
            (200, {"Content-Type": "application/dicom"}, CT + bytes(2**20)),
            "is larger than MEDCBIR_INSTANCE_MAX_BYTES allows",
        ),
    ],
)
def test_an_instance_that_is_not_given_is_told_and_the_rest_goes_on(
    fake: Fake, read: Read, answer: Answer, reason: str, tmp_path: Path
) -> None:
    fake.wado = answer
    items = read()
    assert len(items) == 3
    assert reasons(items) == {reason}
    assert list((tmp_path / "pacs").rglob("*.dcm")) == []


def test_plain_dicom_is_taken_too(fake: Fake, read: Read) -> None:
    fake.wado = (200, {"Content-Type": "application/dicom"}, CT)
    assert all(isinstance(item, ImageRecord) for item in read())


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2?token", "1" * 65, ""])
def test_a_uid_that_is_none_is_not_asked_for(fake: Fake, read: Read, uid: str) -> None:
    fake.instances = [uid]
    assert reasons(read()) == {"the server lists an instance without a valid UID"}
    assert not any("/instances/" in target for target in fake.asked)


@pytest.mark.parametrize("body", [b"<html>", b'"text"', b"[1, 2]", b'[{"0020000D": 1}]', b"{", b"\xff"])
def test_a_server_of_another_kind_is_named(fake: Fake, read: Read, body: bytes) -> None:
    fake.first = [(200, {"Content-Type": "text/html"}, body)]
    with pytest.raises(InputError, match="answers, but not as a DICOMweb server does"):
        read()


def test_the_store_has_a_limit(read: Read, tmp_path: Path) -> None:
    with pytest.raises(StoreFullError, match="MEDCBIR_PACS_MAX_BYTES"):
        read(max_bytes=len(CT) + 1)
    assert len(list((tmp_path / "pacs").rglob("*.dcm"))) == 1


def test_a_study_that_has_not_grown_is_not_looked_into_again(fake: Fake, read: Read, tmp_path: Path) -> None:
    plain = fake.answer

    def counted(target: str) -> Answer:
        status, headers, body = plain(target)
        if urlsplit(target).path.endswith("/studies") and body != b"[]":
            study = json.loads(body)[0] | {"00201208": {"vr": "IS", "Value": [len(fake.instances)]}}
            body = json.dumps([study]).encode()
        return status, headers, body

    fake.answer = counted  # type: ignore[method-assign]
    store = InstanceStore(tmp_path / "pacs", max_bytes=2**30, max_instance_bytes=2**20)
    pacs = Pacs(store, patience=0.2)
    fake.wado = (404, {}, b"")
    assert len(read(pacs=pacs)) == 3
    fake.wado = (200, {"Content-Type": MULTIPART}, BODY)
    assert len(read(pacs=pacs)) == 3  # what was refused is asked for again
    assert read(pacs=pacs) == []
    fake.instances.append("1.2.3.4")
    assert len(read(pacs=pacs)) == 4
