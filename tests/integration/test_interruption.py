"""Commands that are killed, interrupted, or run side by side: the same rows and vectors as one that nobody disturbs."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pydicom
import pytest

from medcbir.ingest.catalogue import _Filling, fill
from medcbir.ingest.merge import Batch
from medcbir.store.connection import Connection
from medcbir.types import ImageRecord

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
DICOM = ("CT_small.dcm", "MR_small.dcm", "examples_ybr_color.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm")
ENCODE = ("encode", "--batch-size", "4", "--database-url")
TOTAL = 68 + 30  # of the first 70 files: one is broken, and one has 30 frames
TOLERANCE = 1e-6
"""Of a vector's components. Measured: batches of other sizes give the same bits by one thread, 9e-8 apart by two."""

StartMedcbir = Callable[..., "Popen[str]"]
RunMedcbir = Callable[..., CompletedProcess[str]]
Clone = Callable[..., str]
Vectors = dict[tuple[str, int], npt.NDArray[np.float32]]


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, options="-c search_path=medcbir,public") as connection:
        return connection.execute(query.encode()).fetchall()


def number(url: str, query: str) -> int:
    return int(ask(url, query)[0][0])


def rows_of(url: str) -> list[tuple[Any, ...]]:
    """Every row of the catalogue without what numbers and clocks make of it."""
    return ask(
        url,
        "SELECT d.name, p.source_id, i.uri, i.frame, i.path, i.modality, i.region, i.split, i.study_uid, i.series_uid, "
        "i.instance_uid, i.width, i.height, i.file_sha256, i.pixel_sha256, i.fingerprint, i.attributes, "
        "ARRAY(SELECT l.name FROM image_label JOIN label AS l USING (label_id) WHERE image_id = i.image_id ORDER BY 1) "
        "FROM image AS i JOIN dataset AS d USING (dataset_id) LEFT JOIN patient AS p USING (patient_id) "
        "ORDER BY i.uri, i.frame",
    )


def rejections_of(url: str) -> list[tuple[Any, ...]]:
    return ask(url, "SELECT stage, dataset, uri, frame, kind, reason FROM rejected ORDER BY uri, frame")


def vectors_of(url: str) -> Vectors:
    found = ask(url, "SELECT i.uri, i.frame, b.v::real[] FROM embedding AS b JOIN image AS i USING (image_id)")
    vectors = {(uri, frame): np.array(v, dtype=np.float32) for uri, frame, v in found}
    assert len(vectors) == len(found)  # none twice
    return vectors


def assert_same_vectors(found: Vectors, wanted: Vectors) -> None:
    assert found.keys() == wanted.keys()
    for image, vector in wanted.items():
        np.testing.assert_allclose(found[image], vector, rtol=0, atol=TOLERANCE)


def wait_for_more_than(least: int, url: str, query: str, process: "Popen[str]") -> None:
    deadline = time.monotonic() + 120
    with psycopg.connect(url, autocommit=True, options="-c search_path=medcbir,public") as connection:
        while (connection.execute(query.encode()).fetchone() or (0,))[0] <= least:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)


def send(process: "Popen[str]", number: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, draw_images: Callable[..., list[Path]]) -> Path:
    """700 images, some DICOM files, a broken file and a text: three batches of the catalogue."""
    folder = tmp_path_factory.mktemp("tree")
    draw_images(
        folder, 700, folders=("train/CT/chest/nodule", "train/CT/chest/mass", "test/MR/brain", "test/US/kidney")
    )
    for name in DICOM:
        shutil.copy(TEST_FILES / name, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "train" / "notes.txt").write_text("nothing to see")
    return folder


@pytest.fixture(scope="module")
def ingested(clone: Clone, tree: Path, run_medcbir: RunMedcbir, key: dict[str, str]) -> str:
    """A catalogue that was filled undisturbed."""
    url = clone()
    done = run_medcbir("ingest", tree, "--no-encode", "--database-url", url, **key)
    assert done.returncode == 3, done.stderr
    assert f"{number(url, 'SELECT count(*) FROM image')} images added" in done.stdout
    return url


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    """One hash key for all, so that patients' pseudonyms can be compared."""
    return {"MEDCBIR_PATIENT_KEY": "the key of these tests"}


@pytest.fixture(scope="module")
def some_ingested(clone: Clone, tree: Path, run_medcbir: RunMedcbir, key: dict[str, str]) -> str:
    """A smaller catalogue, to be encoded: some of its images are frames of one file."""
    url = clone()
    done = run_medcbir("ingest", tree, "--no-encode", "--limit", 70, "--database-url", url, **key)
    assert done.returncode == 3, done.stderr
    assert number(url, "SELECT count(*) FROM image") == TOTAL
    return url


@pytest.fixture(scope="module")
def encoded(clone: Clone, some_ingested: str, run_medcbir: RunMedcbir) -> str:
    """That catalogue, encoded undisturbed."""
    url = clone(some_ingested)
    done = run_medcbir(*ENCODE, url)
    assert done.returncode == 0, done.stderr
    return url


def test_a_killed_ingest_goes_on_and_ends_with_the_rows_of_an_undisturbed_one(
    clone: Clone, tree: Path, ingested: str, start_medcbir: StartMedcbir, run_medcbir: RunMedcbir, key: dict[str, str]
) -> None:
    url = clone()
    arguments = ("ingest", tree, "--no-encode", "--database-url", url)
    process = start_medcbir(*arguments, **key)
    wait_for_more_than(0, url, "SELECT count(*) FROM image", process)
    code, _, _ = send(process, signal.SIGKILL)
    assert code == -signal.SIGKILL
    total = number(ingested, "SELECT count(*) FROM image")
    kept = number(url, "SELECT count(*) FROM image")
    assert 0 < kept < total

    done = run_medcbir(*arguments, **key)
    assert done.returncode == 3, done.stderr
    assert f"{total - kept} images added, 0 updated, {kept} unchanged, 1 rejected, 1 files without" in done.stdout
    assert rows_of(url) == rows_of(ingested)
    assert rejections_of(url) == rejections_of(ingested)


def test_a_killed_command_leaves_no_worker_behind(clone: Clone, tree: Path, start_medcbir: StartMedcbir) -> None:
    url = clone()
    process = start_medcbir("ingest", tree, "--no-encode", "--database-url", url)
    wait_for_more_than(0, url, "SELECT count(*) FROM image", process)
    workers = [
        file.parent
        for file in Path("/proc").glob("[0-9]*/stat")
        if file.exists() and file.read_text().rpartition(")")[2].split()[1] == str(process.pid)
    ]
    assert workers
    send(process, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(b"medcbir.ingest.worker" in _command_line(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_an_interrupted_ingest_says_so_and_goes_on(
    clone: Clone, tree: Path, ingested: str, start_medcbir: StartMedcbir, run_medcbir: RunMedcbir, key: dict[str, str]
) -> None:
    url = clone()
    arguments = ("ingest", tree, "--no-encode", "--database-url", url)
    process = start_medcbir(*arguments, **key)
    wait_for_more_than(0, url, "SELECT count(*) FROM image", process)
    code, stdout, stderr = send(process, signal.SIGINT)
    assert code == 130, stderr
    assert "interrupted; run the same command again to go on" in stderr
    assert "Traceback" not in stderr
    kept = number(url, "SELECT count(*) FROM image")
    assert f"{kept} images added" in stdout
    assert kept < number(ingested, "SELECT count(*) FROM image")
    done = run_medcbir(*arguments, **key)
    assert done.returncode == 3, done.stderr
    assert rows_of(url) == rows_of(ingested)
    assert rejections_of(url) == rejections_of(ingested)


@pytest.mark.parametrize("moment", ["first", "last"])
def test_ctrl_c_while_a_batch_is_handed_to_the_writer_or_taken_from_it_loses_no_count(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write = Batch.write

    def interrupting(batch: Batch, connection: Connection) -> int:
        if moment == "first":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        added = write(batch, connection)
        if moment == "last":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return added

    monkeypatch.setattr(Batch, "write", interrupting)
    with psycopg.connect(clone(), autocommit=True, options="-c search_path=medcbir,public") as connection:
        for round_ in range(10):
            records = [ImageRecord(f"{round_}/{number}", "d") for number in range(3)]
            report = fill(connection, records, hash_key=b"k", max_pixels=1)
            assert (report.interrupted, report.added) == (True, 3)
        assert connection.execute("SELECT count(*) FROM image").fetchone() == (30,)


def test_ctrl_c_within_a_statement_waits_for_its_end(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which it could leave half read: the connection would then be unfit for what is told at the end."""
    changed, ended = _Filling._changed, []

    def pressed(filling: _Filling, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        found = changed(filling, *arguments)
        ended.append(True)
        return found

    monkeypatch.setattr(_Filling, "_changed", pressed)
    with psycopg.connect(clone(), autocommit=True, options="-c search_path=medcbir,public") as connection:
        report = fill(connection, [ImageRecord("a", "d")], hash_key=b"k", max_pixels=1)
        assert report.interrupted
        assert ended
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_encode_goes_on_and_ends_with_the_vectors_of_an_undisturbed_one(
    clone: Clone, some_ingested: str, encoded: str, start_medcbir: StartMedcbir, run_medcbir: RunMedcbir
) -> None:
    url = clone(some_ingested)
    process = start_medcbir(*ENCODE, url)
    wait_for_more_than(0, url, "SELECT count(*) FROM embedding", process)
    send(process, signal.SIGKILL)
    kept = number(url, "SELECT count(*) FROM embedding")
    assert 0 < kept < TOTAL
    assert number(url, "SELECT count(*) FROM encode_claim") > 0  # what it had in hand

    done = run_medcbir(*ENCODE, url)
    assert done.returncode == 0, done.stderr
    assert f"{TOTAL - kept} images encoded" in done.stdout
    assert "0 failed, 0 remaining" in done.stdout
    assert_same_vectors(vectors_of(url), vectors_of(encoded))
    assert number(url, "SELECT count(*) FROM encode_claim") == 0


def test_an_interrupted_encode_says_so_keeps_what_it_has_and_goes_on(
    clone: Clone, some_ingested: str, encoded: str, start_medcbir: StartMedcbir, run_medcbir: RunMedcbir
) -> None:
    url = clone(some_ingested)
    process = start_medcbir(*ENCODE, url)
    wait_for_more_than(0, url, "SELECT count(*) FROM embedding", process)
    code, stdout, stderr = send(process, signal.SIGINT)
    assert code == 130, stderr
    assert "interrupted; run the same command again to go on" in stderr
    assert "Traceback" not in stderr
    kept = number(url, "SELECT count(*) FROM embedding")
    assert f"{kept} images encoded" in stdout
    assert f"0 failed, {TOTAL - kept} remaining" in stdout
    assert 0 < kept < TOTAL
    assert number(url, "SELECT count(*) FROM encode_claim") == 0
    done = run_medcbir(*ENCODE, url)
    assert done.returncode == 0, done.stderr
    assert_same_vectors(vectors_of(url), vectors_of(encoded))


def test_two_encodes_at_the_same_moment_share_the_work(
    clone: Clone, some_ingested: str, encoded: str, start_medcbir: StartMedcbir
) -> None:
    url = clone(some_ingested)
    with psycopg.connect(url) as gate:
        gate.execute("LOCK TABLE medcbir.encoder IN ACCESS EXCLUSIVE MODE")
        processes = [start_medcbir(*ENCODE, url, "--format", "json") for _ in range(2)]
        deadline = time.monotonic() + 60
        while number(url, "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    shares = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        shares.append(json.loads(stdout)["encoded"])
    assert sum(shares) == TOTAL
    assert min(shares) > 0
    assert_same_vectors(vectors_of(url), vectors_of(encoded))
    assert number(url, "SELECT count(*) FROM encode_claim") == 0
    assert number(url, "SELECT count(*) FROM encoder") == 1


def test_of_four_encodes_one_is_killed_and_one_interrupted_and_nothing_is_missing_or_there_twice(
    clone: Clone, some_ingested: str, encoded: str, start_medcbir: StartMedcbir, run_medcbir: RunMedcbir
) -> None:
    url = clone(some_ingested)
    command = ("encode", "--batch-size", "1", "--database-url", url)
    processes = [start_medcbir(*command) for _ in range(4)]
    killed, interrupted, *others = processes
    claims = "SELECT count(DISTINCT worker) FROM encode_claim"
    wait_for_more_than(1, url, claims, killed)  # at least two share the work at this moment
    killed.send_signal(signal.SIGKILL)
    interrupted.send_signal(signal.SIGINT)
    for process in processes:
        process.communicate(timeout=240)
    assert killed.returncode == -signal.SIGKILL
    assert interrupted.returncode in {130, 0}  # unless it had ended already
    assert [process.returncode for process in others] == [0, 0]
    done = run_medcbir(*ENCODE, url)  # what the interrupted one gave back after the others had looked for the last time
    assert done.returncode == 0, done.stderr
    assert "0 failed, 0 remaining" in done.stdout
    assert_same_vectors(vectors_of(url), vectors_of(encoded))
    assert number(url, "SELECT count(*) FROM encode_claim") == 0
