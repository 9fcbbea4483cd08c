"""Whose server a benchmark's database has."""

from pathlib import Path

import pytest

from medcbir.bench.place import open_for
from medcbir.bench.steps import alone
from medcbir.store.embedded import EmbeddedServer


@pytest.fixture(autouse=True)
def no_other_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that a server may live in, and nothing in the environment that names another."""
    for name in ("DATABASE_URL", "PGHOST", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    tmp_path.chmod(0o755)


def test_a_benchmark_beside_another_leaves_its_server_running(tmp_path: Path) -> None:
    with open_for("smoke", tmp_path) as first, alone(tmp_path / "steps"):
        first.start()
        with open_for("smoke", tmp_path) as second:
            assert second.query("SELECT 1") == [(1,)]
        assert first.query("SELECT 2") == [(2,)]
    assert not EmbeddedServer(tmp_path / "database").status().running


def test_a_benchmark_stops_the_server_that_a_killed_one_left_behind(tmp_path: Path) -> None:
    EmbeddedServer(tmp_path / "database").start()
    with open_for("smoke", tmp_path) as db:
        assert db.query("SELECT 1") == [(1,)]
    assert not EmbeddedServer(tmp_path / "database").status().running
