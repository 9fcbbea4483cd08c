"""The worker pool against processes that really die and files that really hang."""

import fcntl
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medcbir.encoders import Pixels
from medcbir.ingest.pool import Failure, WorkerPool
from medcbir.types import Entry, ImageRecord

LIMIT = 10_000_000


def task(path: Path) -> tuple[ImageRecord, bytes, int]:
    return ImageRecord(uri=path.name, dataset="d", path=path), b"key", LIMIT


def picture(path: Path, side: int = 16) -> Path:
    Image.fromarray(np.arange(side * side, dtype=np.uint16).reshape(side, side).astype(np.uint8)).save(path)
    return path


def workers() -> set[int]:
    """Process ids of this process's workers."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = file.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"medcbir.ingest.worker" in (file.parent / "cmdline").read_bytes():
                found.add(int(file.parent.name))
    return found


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Path]:
    """A file that whoever opens it waits for: a lease holds it, for 45 seconds after it is first opened."""
    path = picture(tmp_path / "hangs.png")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with path.open("r+b") as leased:
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield path
    signal.signal(signal.SIGIO, before)


def kill_who_opens(hanging: Path, known: set[int]) -> threading.Thread:
    """In a while, kill the worker that has begun to open `hanging`, and no other."""

    def kill() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for pid in workers() - known:
                with suppress(OSError):
                    if _waits_in_open(pid) and _waits_in_open(pid):
                        os.kill(pid, signal.SIGKILL)
                        return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def _waits_in_open(pid: int) -> bool:
    """Whether the process is inside openat, which returns at once for anything else."""
    time.sleep(0.1)
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in {"257", "56"}


def test_results_come_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{number}.png", side=1 + 37 * number % 60) for number in range(40)]
    with WorkerPool("inspect", workers=3, ahead=8) as pool:
        answers = list(pool.map(task(file) for file in files))
    assert [arguments[0].path for arguments, _ in answers] == files
    sides = [answer[0].facts.width for _, answer in answers]
    assert sides == [1 + 37 * number % 60 for number in range(40)]


def test_no_more_than_ahead_tasks_are_taken_in_advance(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    taken = 0

    def tasks() -> Iterator[tuple[ImageRecord, bytes, int]]:
        nonlocal taken
        for _ in range(30):
            taken += 1
            yield task(file)

    with WorkerPool("inspect", workers=1, ahead=5) as pool:
        for done, _ in enumerate(pool.map(tasks()), start=1):
            assert taken <= done + 5


def test_a_file_that_hangs_its_decoder_is_given_up_and_the_others_are_read(tmp_path: Path, hanging: Path) -> None:
    good = [picture(tmp_path / f"{number}.png") for number in range(6)]
    with WorkerPool("inspect", workers=1, seconds=2) as pool:
        started = time.monotonic()
        answers = {
            arguments[0].uri: answer for arguments, answer in pool.map(map(task, [*good[:3], hanging, *good[3:]]))
        }
        assert time.monotonic() - started < 30
    assert answers.pop("hangs.png") == Failure("its decoder was stopped after 2 s")
    assert len(answers) == 6
    assert all(isinstance(answer[0], Entry) and answer[0].facts.width == 16 for answer in answers.values())


def test_of_files_handed_over_together_the_hanging_one_alone_is_given_up(tmp_path: Path, hanging: Path) -> None:
    good = [picture(tmp_path / f"{number}.png", side=number + 1) for number in range(9)]
    with WorkerPool("inspect", workers=2, together=4, seconds=2) as pool:
        answers = list(pool.map(map(task, [*good[:6], hanging, *good[6:]])))
    told = [answer if isinstance(answer, Failure) else answer[0].facts.width for _, answer in answers]
    assert told == [1, 2, 3, 4, 5, 6, Failure("its decoder was stopped after 2 s"), 7, 8, 9]


def test_a_hanging_file_is_always_told_from_a_crash(hanging: Path) -> None:
    with WorkerPool("inspect", workers=4, seconds=1) as pool:
        reasons = {answer.reason for _, answer in pool.map([task(hanging)] * 12)}
    assert reasons == {"its decoder was stopped after 1 s"}


def test_a_decoder_that_is_killed_costs_its_file_alone(tmp_path: Path, hanging: Path) -> None:
    good = [picture(tmp_path / f"{number}.png") for number in range(6)]
    before = workers()
    with WorkerPool("inspect", workers=1, seconds=60) as pool:
        killer = kill_who_opens(hanging, before)
        answers = {
            arguments[0].uri: answer for arguments, answer in pool.map(map(task, [*good[:3], hanging, *good[3:]]))
        }
        killer.join()
    assert answers.pop("hangs.png") == Failure("its decoder crashed")
    assert all(isinstance(answer[0], Entry) for answer in answers.values())
    assert len(answers) == 6


@pytest.mark.parametrize("together", [1, 3])
def test_closing_ends_every_worker_even_one_that_hangs(tmp_path: Path, hanging: Path, together: int) -> None:
    before = workers()
    started = time.monotonic()
    good = task(picture(tmp_path / "a.png"))
    with WorkerPool("inspect", workers=2, seconds=300, together=together) as pool:
        results = pool.map([*[good] * together, task(hanging), good, good])
        next(results)
        assert workers() - before
    assert time.monotonic() - started < 30
    assert workers() == before


def test_an_image_larger_than_the_limit_is_rejected_undecoded(tmp_path: Path) -> None:
    record, key, _ = task(picture(tmp_path / "a.png", side=64))
    with WorkerPool("inspect", workers=1) as pool:
        [(_, answer)] = pool.map([(record, key, 100)])
    assert answer.reason == "declares 64 x 64 pixels, more than the limit of 100 (MEDCBIR_MAX_PIXELS)"


def test_files_in_the_working_directory_are_not_taken_for_modules(tmp_path: Path) -> None:
    """A folder of images may hold numpy.py or queue.py; where the command is started must not matter."""
    for module in ("numpy", "pydicom", "pickle", "medcbir"):
        (tmp_path / f"{module}.py").write_text(f"raise RuntimeError('{module}.py of the working directory was run')")
    picture(tmp_path / "a.png")
    script = f"""
        from pathlib import Path
        from medcbir.ingest.pool import WorkerPool
        from medcbir.types import ImageRecord
        record = ImageRecord(uri="a", dataset="d", path=Path({str(tmp_path / "a.png")!r}))
        with WorkerPool("inspect", workers=1) as pool:
            [(_, answer)] = pool.map([(record, b"key", 1000)])
        print(answer)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "width=16" in done.stdout, done.stdout


def test_a_worker_imports_what_its_files_need(tmp_path: Path) -> None:
    slice_ = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    pixels = Pixels(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)

    def imported(path: Path) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "medcbir.ingest.worker", "1"],
            input=pickle.dumps(("prepare", [(path, [0], [None], pixels, LIMIT)])),
            capture_output=True,
            check=True,
        )
        [(succeeded, [frame])] = pickle.loads(done.stdout)  # noqa: S301
        assert succeeded
        assert frame.shape == (16, 16, 3)
        return set(re.findall(r"\|\s+(\w+)", done.stderr.decode()))

    never = {"torch", "timm", "psycopg", "pydantic", "urllib3"}
    assert imported(picture(tmp_path / "a.png")) & {*never, "pydicom", "nibabel"} == set()
    assert imported(slice_) & {*never, "nibabel"} == set()
