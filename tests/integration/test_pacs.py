"""A real PACS, Orthanc: instances asked for by DICOMweb and pushed by C-STORE, either side killed in the middle."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import psycopg
import pydicom
import pytest
from pydicom.uid import generate_uid

import medcbir
from medcbir.errors import InputError

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = [name for name in ("Orthanc", "storescu", "echoscu") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING) or not PLUGIN.exists(),
    reason="NOT TESTED WITHOUT A PACS: install the system packages orthanc, orthanc-dicomweb and dcmtk "
    "(`make system-packages` as root)",
)

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
PASSWORD = "orthanc-S3cret"  # noqa: S105
AUTHORIZATION = "Basic " + base64.b64encode(f"medcbir:{PASSWORD}".encode()).decode()
STUDIES = 12
PER_STUDY = 9
TOTAL = STUDIES * PER_STUDY

RunMedcbir = Callable[..., "CompletedProcess[str]"]
StartMedcbir = Callable[..., "Popen[str]"]
Clone = Callable[..., str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = 120.0, pause: float = 0.02) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, options="-c search_path=medcbir,public") as connection:
        return connection.execute(query.encode()).fetchall()


def instances_of(url: str) -> list[str]:
    return [uid for (uid,) in ask(url, "SELECT instance_uid FROM image ORDER BY instance_uid")]


class Orthanc:
    """A server of its own folder and ports, which keep over a restart."""

    def __init__(self, folder: Path) -> None:
        self.dicom_port, self.http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}/dicom-web"
        self.config = folder / "orthanc.json"
        self.log = folder / "log"
        self.config.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "index"),
                    "HttpPort": self.http_port,
                    "DicomPort": self.dicom_port,
                    "DicomCheckCalledAet": False,
                    "DicomAlwaysAllowStore": True,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {"medcbir": PASSWORD},
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        self.process: Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(["Orthanc", str(self.config)], stdout=log, stderr=log)
        wait_until(lambda: answers(self.http_port) and answers(self.dicom_port))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def push(port: int, folder: Path, called: str = "ANY", calling: str = "STORESCU") -> "CompletedProcess[str]":
    command = ["storescu", "-v", "-aet", calling, "-aec", called, "+sd", "127.0.0.1", str(port), str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half CT of 2025, half MR of 2026, of six patients."""
    folder = tmp_path_factory.mktemp("instances")
    for number in range(STUDIES):
        modality, year = (("CT", 2025), ("MR", 2026))[number % 2]
        header = pydicom.dcmread(TEST_FILES / f"{modality}_small.dcm")
        header.PatientID = f"patient {number // 2}"
        header.PatientName = "Nobody^Knows"
        header.StudyDate = f"{year}03{number + 1:02d}"
        header.StudyInstanceUID, header.SeriesInstanceUID = generate_uid(), generate_uid()
        for instance in range(PER_STUDY):
            header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            header.InstanceNumber = instance + 1
            header.save_as(folder / f"{number:02d}-{instance:02d}.dcm")
    return folder


def uids_in(folder: Path) -> list[str]:
    return sorted(str(pydicom.dcmread(file).SOPInstanceUID) for file in folder.iterdir())


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, instances: Path) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    server.start()
    pushed = push(server.dicom_port, instances)
    assert pushed.returncode == 0, pushed.stderr
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def running(request: pytest.FixtureRequest) -> None:
    """The server is up for each test that uses it, whatever the one before did to it."""
    if "orthanc" in request.fixturenames:
        server = request.getfixturevalue("orthanc")
        if server.process is None:
            server.start()


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> dict[str, object]:
    """Environment of a command with a database and a data directory of its own, let in by the PACS."""
    return {
        "DATABASE_URL": database_url,
        "MEDCBIR_DATA_DIR": tmp_path / "data",
        "MEDCBIR_DICOMWEB_AUTHORIZATION": AUTHORIZATION,
        "MEDCBIR_PACS_PATIENCE": 1,
    }


def stored(place: dict[str, object]) -> list[Path]:
    return sorted((Path(str(place["MEDCBIR_DATA_DIR"])) / "pacs" / "stored").rglob("*.dcm"))


def test_an_ingest_whose_pacs_stops_in_the_middle_goes_on_when_it_is_back(
    orthanc: Orthanc,
    instances: Path,
    place: dict[str, object],
    start_medcbir: StartMedcbir,
    run_medcbir: RunMedcbir,
    database_url: str,
) -> None:
    command = ("ingest", orthanc.url, "--no-encode", "--name", "orthanc")
    process = start_medcbir(*command, **place)
    wait_until(lambda: process.poll() is not None or len(stored(place)) > 10, pause=0.002)
    orthanc.kill()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stdout
    assert f"Error: {orthanc.url} cannot be reached; once it is back, the same command goes on" in stderr
    assert "Traceback" not in stderr
    fetched = {file: file.stat().st_mtime_ns for file in stored(place)}
    assert 10 < len(fetched) < TOTAL

    orthanc.start()
    done = run_medcbir(*command, **place)
    assert done.returncode == 0, done.stderr
    assert instances_of(database_url) == uids_in(instances)
    assert {file: file.stat().st_mtime_ns for file in fetched} == fetched  # none was fetched again
    rows = ask(
        database_url,
        "SELECT d.name, i.uri, i.path, i.modality, p.source_id, i.study_uid, i.series_uid, i.instance_uid, "
        "i.attributes::text FROM image AS i JOIN dataset AS d USING (dataset_id) JOIN patient AS p USING (patient_id)",
    )
    assert len(rows) == TOTAL
    assert len({row[4] for row in rows}) == STUDIES // 2
    for name, uri, path, modality, _, study, series, instance, _ in rows:
        assert name == "orthanc"
        assert uri == f"{orthanc.url}/studies/{study}/series/{series}/instances/{instance}"
        assert modality in ("CT", "MR")
        assert pydicom.dcmread(path).SOPInstanceUID == instance
        assert re.fullmatch(r"[0-9a-f]{64}\.dcm", Path(path).name)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116
        assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) == 0o700  # noqa: PTH116
    told = json.dumps(rows) + done.stdout + done.stderr + stdout + stderr
    assert "Nobody" not in told
    assert "patient 0" not in told
    assert PASSWORD not in told
    assert AUTHORIZATION.split()[1] not in told

    again = run_medcbir(*command, **place)
    assert f"nothing new, {TOTAL} unchanged, 0 rejected" in again.stdout


def test_a_short_absence_is_waited_for(
    orthanc: Orthanc, instances: Path, place: dict[str, object], start_medcbir: StartMedcbir, database_url: str
) -> None:
    process = start_medcbir("ingest", orthanc.url, "--no-encode", **place | {"MEDCBIR_PACS_PATIENCE": 60})
    wait_until(lambda: process.poll() is not None or len(stored(place)) > 10, pause=0.002)
    orthanc.kill()
    time.sleep(1.5)
    orthanc.start()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert f"{TOTAL} images added" in stdout
    assert instances_of(database_url) == uids_in(instances)


@pytest.fixture
def connect(place: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> Callable[..., medcbir.Database]:
    """Opens that place from Python; keywords are environment variables."""

    def opened(**environment: str) -> medcbir.Database:
        for name, value in (place | environment).items():
            monkeypatch.setenv(name, str(value))
        return medcbir.connect()

    return opened


def test_filters_choose_studies_and_series(
    orthanc: Orthanc, place: dict[str, object], connect: Callable[..., medcbir.Database]
) -> None:
    with connect() as db:
        for modality, since, studies in (
            ("US", None, 0),
            (None, date(2026, 3, 9), 2),  # of the 10th and the 12th
            ("CT", date(2025, 3, 4), 4),
            ("CT", None, 6),
        ):
            assert db.survey(orthanc.url, modality=modality, since=since).images == studies * PER_STUDY
        assert stored(place) == []
        report = db.ingest(orthanc.url, modality="MR", since=date(2026, 3, 9), encode=False)
        assert (report.added, report.rejected) == (2 * PER_STUDY, 0)
        assert db.query("SELECT modality, count(*) FROM image GROUP BY 1") == [("MR", 2 * PER_STUDY)]
        assert len(stored(place)) == 2 * PER_STUDY


def test_mistakes_are_told_in_a_line_without_secrets(
    orthanc: Orthanc, connect: Callable[..., medcbir.Database]
) -> None:
    host = f"127.0.0.1:{orthanc.http_port}"
    secret = "Bearer t0ken-of-nobody"  # noqa: S105
    for url, authorization, said in (
        (orthanc.url, "", "refuses access (HTTP 401)"),
        (orthanc.url, secret, "refuses access (HTTP 401)"),
        (orthanc.url, f"{secret}\nHost: x", "must be one line of ASCII"),
        (f"http://{host}/nowhere", AUTHORIZATION, "answers HTTP 404: give the URL that its DICOMweb service starts"),
        (f"http://{host}/app/explorer.html", AUTHORIZATION, "answers HTTP 404"),
        (f"https://{host}/dicom-web", AUTHORIZATION, "does not speak TLS as expected"),
        (f"http://medcbir:{PASSWORD}@{host}/dicom-web", AUTHORIZATION, "holds a name or password"),
    ):
        with connect(MEDCBIR_DICOMWEB_AUTHORIZATION=authorization) as db, pytest.raises(InputError) as told:
            db.ingest(url, encode=False)
        message = str(told.value)
        assert said in message
        assert "\n" not in message
        for hidden in (PASSWORD, secret, AUTHORIZATION.split()[1]):
            assert hidden not in message
            assert hidden not in repr(db.settings)


def test_watch_ingests_what_is_new_and_outlives_the_pacs(
    orthanc: Orthanc,
    instances: Path,
    place: dict[str, object],
    start_medcbir: StartMedcbir,
    database_url: str,
    tmp_path: Path,
) -> None:
    process = start_medcbir("watch", orthanc.url, "--every", 1, "--no-encode", "--since", "2026-03-09", **place)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert f"catalogue: {2 * PER_STUDY} images added" in process.stdout.readline()
        assert len(instances_of(database_url)) == 2 * PER_STUDY
        orthanc.kill()
        assert "waiting: " in process.stderr.readline()
        orthanc.start()
        assert "going on" in process.stderr.readline()
        late = pydicom.dcmread(instances / f"{STUDIES - 3:02d}-00.dcm")
        late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        (tmp_path / "late").mkdir()
        late.save_as(tmp_path / "late" / "late.dcm")
        assert push(orthanc.dicom_port, tmp_path / "late").returncode == 0
        assert "catalogue: 1 images added" in process.stdout.readline()
        assert str(late.SOPInstanceUID) in instances_of(database_url)
    finally:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert stdout == ""


class Receiver:
    """`medcbir receive` on a port of its own."""

    def __init__(self, start: StartMedcbir, place: dict[str, object], *options: object, encode: bool = False) -> None:
        only_catalogue = () if encode else ("--no-encode",)
        self.process = start("receive", "--port", 0, *only_catalogue, *options, **place)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.match(r"listening on 127\.0\.0\.1 port (\d+) as MEDCBIR", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found[1])

    def end(self, number: signal.Signals) -> tuple[str, str]:
        self.process.send_signal(number)
        return self.process.communicate(timeout=120)


def acknowledged(pushed: "CompletedProcess[str]") -> int:
    return len(re.findall(r"Received Store Response \(Success\)", pushed.stdout + pushed.stderr))


def test_a_killed_receiver_has_kept_every_instance_that_it_acknowledged(
    instances: Path, place: dict[str, object], start_medcbir: StartMedcbir, database_url: str
) -> None:
    receiver = Receiver(start_medcbir, place)
    command = ["storescu", "-v", "-aec", "MEDCBIR", "+sd", "127.0.0.1", str(receiver.port), str(instances)]
    with Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pushing:
        folder = Path(str(place["MEDCBIR_DATA_DIR"])) / "pacs"
        wait_until(lambda: len({file.name for file in folder.rglob("*/*.dcm")}) >= 20, pause=0.002)
        receiver.process.kill()
        log, _ = pushing.communicate(timeout=120)
    receiver.process.communicate()
    sent = re.findall(r"Sending file: (.*)\n(?:.*\n)*?.*Received Store Response \(Success\)", log)
    kept = [str(pydicom.dcmread(file).SOPInstanceUID) for file in sent]
    assert len(kept) == log.count("Received Store Response (Success)")
    assert 10 <= len(kept) < TOTAL
    before = instances_of(database_url)

    receiver = Receiver(start_medcbir, place)
    restarted = instances_of(database_url)  # it has catalogued before it listens
    assert len(before) < len(restarted) or set(kept) <= set(before)
    assert set(kept) <= set(restarted)
    assert len(set(restarted)) == len(restarted)

    assert subprocess.run(["echoscu", "-aec", "MEDCBIR", "127.0.0.1", str(receiver.port)]).returncode == 0
    pushed = push(receiver.port, instances, called="MEDCBIR")
    assert acknowledged(pushed) == TOTAL
    wait_until(lambda: instances_of(database_url) == uids_in(instances))
    stdout, stderr = receiver.end(signal.SIGTERM)
    assert receiver.process.returncode == 0, stderr
    assert len(stored(place)) == TOTAL
    data = Path(str(place["MEDCBIR_DATA_DIR"]))
    assert list((data / "pacs" / "incoming").iterdir()) == []
    assert len(list((data / "pacs" / "drafts").iterdir())) <= 1  # what was arriving when the process was killed
    for said in ("Nobody", "patient", "STORESCU", "Traceback"):
        assert said not in stdout + stderr
    uris = ask(database_url, "SELECT uri, instance_uid FROM image")
    assert all(uri == f"urn:oid:{uid}" for uri, uid in uris)


def test_only_those_who_may_push_can(instances: Path, place: dict[str, object], start_medcbir: StartMedcbir) -> None:
    receiver = Receiver(start_medcbir, place, "--allow-aet", "CT1")
    assert acknowledged(push(receiver.port, instances, called="MEDCBIR", calling="CT2")) == 0
    assert acknowledged(push(receiver.port, instances, called="OTHER", calling="CT1")) == 0
    assert acknowledged(push(receiver.port, instances, called="MEDCBIR", calling="CT1")) == TOTAL
    receiver.end(signal.SIGINT)
    assert receiver.process.returncode == 0


def test_a_full_store_is_out_of_resources(
    instances: Path, place: dict[str, object], start_medcbir: StartMedcbir, database_url: str
) -> None:
    size = (instances / "00-00.dcm").stat().st_size
    receiver = Receiver(start_medcbir, place | {"MEDCBIR_PACS_MAX_BYTES": 10 * size})
    pushed = push(receiver.port, instances, called="MEDCBIR")
    assert "Refused: OutOfResources" in pushed.stdout + pushed.stderr
    assert receiver.process.stderr is not None
    assert "waiting: instances were refused: " in receiver.process.stderr.readline()
    wait_until(lambda: acknowledged(pushed) == len(instances_of(database_url)))
    receiver.end(signal.SIGINT)
    kept = sum(file.stat().st_size for file in stored(place))
    assert 9 * size < kept <= 10 * size


def test_a_receiver_outlives_its_database_and_encodes_what_came_meanwhile(
    instances: Path, tmp_path: Path, start_medcbir: StartMedcbir, run_medcbir: RunMedcbir
) -> None:
    """The embedded server stops under it: acknowledged instances are kept, then catalogued and encoded, each once."""
    place: dict[str, object] = {"MEDCBIR_DATA_DIR": tmp_path / "data"}
    receiver = Receiver(start_medcbir, place, encode=True)
    try:
        parts = [tmp_path / "before", tmp_path / "during"]
        for number, part in enumerate(parts):
            part.mkdir()
            for file in sorted(instances.glob(f"{number:02d}-*.dcm")):
                shutil.copy(file, part)
        url = run_medcbir("db", "url", **place).stdout.strip()
        encoded = "SELECT count(*) FROM embedding"
        assert acknowledged(push(receiver.port, parts[0], called="MEDCBIR")) == PER_STUDY
        wait_until(lambda: ask(url, "SELECT count(*) FROM image") == [(PER_STUDY,)], seconds=90)
        wait_until(lambda: ask(url, encoded) == [(PER_STUDY,)], seconds=90)

        assert run_medcbir("db", "stop", **place).returncode == 0
        assert acknowledged(push(receiver.port, parts[1], called="MEDCBIR")) == PER_STUDY
        assert receiver.process.stderr is not None
        assert "waiting: " in receiver.process.stderr.readline()
        assert len(list((tmp_path / "data" / "pacs" / "incoming").iterdir())) == PER_STUDY

        assert run_medcbir("db", "start", **place).returncode == 0
        assert "going on" in receiver.process.stderr.readline()
        wait_until(lambda: ask(url, encoded) == [(2 * PER_STUDY,)], seconds=90)
        assert instances_of(url) == sorted(uid for part in parts for uid in uids_in(part))
        assert ask(url, "SELECT count(*), count(DISTINCT image_id) FROM embedding") == [(2 * PER_STUDY, 2 * PER_STUDY)]
    finally:
        receiver.end(signal.SIGINT)
        run_medcbir("db", "stop", **place)
    assert receiver.process.returncode == 0


def test_watch_encodes_what_it_brings(
    orthanc: Orthanc, place: dict[str, object], start_medcbir: StartMedcbir, database_url: str
) -> None:
    process = start_medcbir("watch", orthanc.url, "--every", 1, "--since", "2026-03-12", **place)
    try:
        assert process.stdout is not None
        assert f"catalogue: {PER_STUDY} images added" in process.stdout.readline()
        assert f"encoder efficientnet_lite0: {PER_STUDY} images encoded, 0 failed" in process.stdout.readline()
        assert ask(database_url, "SELECT count(efficientnet_lite0), count(*) FROM image_vectors") == [(PER_STUDY,) * 2]
    finally:
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert PASSWORD not in stderr
    assert AUTHORIZATION.split()[1] not in stderr
