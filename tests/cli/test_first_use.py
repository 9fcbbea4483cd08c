"""Commands on a data directory that does not exist yet, also at the same moment."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

from medcbir.store.embedded import EmbeddedServer

RunMedcbir = Callable[..., CompletedProcess[str]]


@pytest.fixture
def fresh() -> Iterator[Path]:
    """A data directory that does not exist; whatever is made there is gone after the test."""
    parent = Path(tempfile.mkdtemp(prefix="medcbir-test-"))
    parent.chmod(0o755)
    server = EmbeddedServer(parent / "data")
    yield parent / "data"
    with contextlib.suppress(Exception):
        cluster = server.status().data_directory
        server.stop()
        shutil.rmtree(cluster, ignore_errors=True)  # type: ignore[arg-type]
    shutil.rmtree(parent, ignore_errors=True)


def test_commands_that_start_together_on_a_fresh_directory_all_work(
    fresh: Path, images: Path, start_medcbir: Callable[..., "Popen[str]"], run_medcbir: RunMedcbir, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("uri\na.png\nb.png\n")
    at_the_same_moment = [
        start_medcbir(*arguments, "--data-dir", fresh)
        for arguments in (
            ("ingest", images, "--no-encode"),
            ("ingest", tmp_path / "m.csv", "--metadata-only"),
            ("db", "status"),
            ("db", "start"),
        )
    ]
    for process in at_the_same_moment:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, f"{process.args} {stdout} {stderr}"
    status = json.loads(run_medcbir("db", "status", "--format", "json", "--data-dir", fresh).stdout)
    assert (status["running"], status["images"], status["rejected"]) == (True, 19 + 2, 0)
    assert status["revision"] == status["revision_wanted"]


def test_status_starts_and_makes_nothing(fresh: Path, run_medcbir: RunMedcbir) -> None:
    done = run_medcbir("db", "status", "--data-dir", fresh)
    assert done.returncode == 0, done.stderr
    assert "running: False" in done.stdout
    assert not fresh.exists()
