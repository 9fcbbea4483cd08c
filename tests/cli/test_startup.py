"""What a command costs before it does anything."""

import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

PROGRAM = Path(sysconfig.get_path("scripts")) / "medcbir"
HEAVY = {"torch", "timm", "open_clip", "torchvision"}
NOT_FOR_HELP = HEAVY | {"numpy", "sqlalchemy", "pydantic", "psycopg", "alembic", "PIL", "pydicom", "rich"}


def imported_by(*arguments: object, expect: int = 0) -> set[str]:
    """Top-level packages that the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PROGRAM, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == expect, done.stderr
    found = set(re.findall(r"\|\s+([A-Za-z_]\w*)", done.stderr))
    assert "click" in found
    return found


@pytest.mark.parametrize("arguments", [("--help",), ("db", "status", "--help"), ("ingest", "--help"), ("--version",)])
def test_help_is_there_at_once_and_imports_nothing_large(arguments: tuple[str, ...]) -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert "medcbir" in done.stdout
    assert min(seconds) < 0.5
    assert imported_by(*arguments) & NOT_FOR_HELP == set()


def test_commands_that_need_no_model_do_not_import_one(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", filled)
    (tmp_path / "m.csv").write_text("uri\na.png\n")
    for arguments in (
        ("db", "status"),
        ("encoders", "list"),
        ("encoders", "show", "biomedclip"),
        ("search", "--id", 1),
        ("evaluate",),
        ("ingest", tmp_path / "m.csv", "--metadata-only", "--data-dir", tmp_path),
    ):
        assert imported_by(*arguments) & HEAVY == set(), arguments


def test_a_closed_pipe_ends_a_command_quietly(filled: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"'{PROGRAM}' search --id 1 -n 18 --format csv | head -n 1"],
        capture_output=True,
        text=True,
        env=os.environ | {"DATABASE_URL": filled},
    )
    assert done.stdout.startswith("rank,")
    assert [line for line in done.stderr.splitlines() if "have no vector" not in line] == []


def test_every_command_has_help(run_medcbir: Callable[..., CompletedProcess[str]]) -> None:
    listed = run_medcbir("--help").stdout.partition("Commands:")[2]
    commands = re.findall(r"^  (\w+)  ", listed, re.MULTILINE)
    assert {"db", "encode", "encoders", "evaluate", "ingest", "retrieve", "search", "vectors"} <= set(commands)
    for command in commands:
        done = run_medcbir(command, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage: medcbir" in done.stdout
