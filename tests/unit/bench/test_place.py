"""Whose server a benchmark's database has."""

from pathlib import Path

import pytest

from medcbir.bench.place import open_for
from medcbir.store.embedded import EmbeddedServer


def test_a_benchmark_beside_another_leaves_its_server_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "PGHOST", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    tmp_path.chmod(0o755)
    with open_for("smoke", tmp_path) as first:
        first.start()
        with open_for("smoke", tmp_path) as second:
            assert second.query("SELECT 1") == [(1,)]
        assert first.query("SELECT 2") == [(2,)]
    assert not EmbeddedServer(tmp_path / "database").status().running
