"""medcbir doctor: all well on a database that works, and the next step for everything that does not."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest

Run = Callable[..., CompletedProcess[str]]


def change(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True, options="-c search_path=medcbir,public") as connection:
        connection.execute(statement.encode())


@pytest.fixture
def examine(run_medcbir: Run) -> Callable[..., tuple[int, dict[str, dict[str, Any]]]]:
    """Runs the command: its exit code and the checks by name."""

    def run(*arguments: object, **environment: object) -> tuple[int, dict[str, dict[str, Any]]]:
        done = run_medcbir("doctor", "--format", "json", *arguments, **environment)
        found = json.loads(done.stdout)
        assert found["ok"] == (done.returncode == 0)
        return done.returncode, {check["name"]: check for check in found["checks"]}

    return run


def test_a_database_that_works_passes_every_check(filled: str, examine: Callable[..., Any]) -> None:
    code, checks = examine("--database-url", filled)
    assert code == 0
    states = {name: check["state"] for name, check in checks.items() if name != "disk"}
    assert states == {
        "server": "ok",
        "schema": "ok",
        "coverage of efficientnet_lite0": "ok",
        "plan of image_vectors": "ok",
        "weights of efficientnet_lite0": "ok",
        "plan of a query of efficientnet_lite0": "ok",
        "query of efficientnet_lite0": "ok",
        "picture to hits by efficientnet_lite0": "ok",
    }
    assert checks["query of efficientnet_lite0"]["found"].startswith("10 nearest images in ")
    assert "finds itself" in checks["picture to hits by efficientnet_lite0"]["found"]
    assert "19 of 19 images done" in checks["coverage of efficientnet_lite0"]["found"]


def test_what_is_wrong_is_told_with_its_next_step(
    filled: str, clone: Callable[..., str], examine: Callable[..., Any], tmp_path: Path
) -> None:
    url = clone(filled)
    change(url, "DELETE FROM embedding WHERE image_id = (SELECT min(image_id) FROM image)")
    change(url, "UPDATE image SET path = NULL")
    change(url, "ALTER TABLE embedding_efficientnet_lite0 DROP CONSTRAINT embedding_efficientnet_lite0_id")
    change(url, "SELECT add_encoder('mae', 8, '{}', '\\x01')")
    code, checks = examine("--database-url", url, MEDCBIR_WEIGHTS_DIR=tmp_path)
    assert code == 1
    assert checks["plan of image_vectors"]["state"] == "failed"
    assert "restore it" in checks["plan of image_vectors"]["next_step"]
    lite, mae = checks["coverage of efficientnet_lite0"], checks["coverage of mae"]
    assert (lite["state"], lite["found"]) == ("ok", "made: 18 of 19 images done, 1 without a file")
    assert mae["found"] == "made: 0 of 19 images done, 19 without a file"
    assert checks["weights of mae"]["state"] == "warning"
    assert "mae_pretrain_vit_base.pth" in checks["weights of mae"]["found"]
    assert "https://" in checks["weights of mae"]["next_step"]
    assert checks["query of mae"]["next_step"] == "run `medcbir encode --encoder mae`"


def test_images_that_lack_a_vector_are_told_with_the_command_that_mends_it(
    filled: str, clone: Callable[..., str], run_medcbir: Run
) -> None:
    url = clone(filled)
    change(url, "DELETE FROM embedding WHERE image_id <= (SELECT min(image_id) + 1 FROM image)")
    change(
        url,
        "INSERT INTO rejected (stage, encoder_id, dataset, uri, frame, kind, reason) "
        "SELECT 'encode', 1, 'made', uri, frame, 'unreadable', 'is cut short' FROM image ORDER BY image_id LIMIT 1",
    )
    done = run_medcbir("doctor", "--database-url", url)
    assert done.returncode == 0, done.stdout
    assert "made: 17 of 19 images done, 1 missing, 1 failed" in done.stdout
    assert "next: run `medcbir encode --encoder efficientnet_lite0`; see `medcbir encoders coverage" in done.stdout
    done = run_medcbir("encoders", "coverage", "--failed", "--format", "csv", "--database-url", url)
    assert done.stdout.splitlines()[1].startswith("efficientnet_lite0,made,")
    assert "is cut short" in done.stdout


def test_a_server_that_is_not_there_is_a_failed_check(examine: Callable[..., Any]) -> None:
    code, checks = examine("--database-url", "postgresql://nobody@127.0.0.1:9/none")
    assert code == 1
    assert checks["database"]["state"] == "failed"
    assert checks["database"]["next_step"]


def test_a_database_without_the_schema_is_a_failed_check(empty_database: str, examine: Callable[..., Any]) -> None:
    code, checks = examine("--database-url", empty_database)
    assert code == 1
    assert {name for name, check in checks.items() if check["state"] == "failed"} >= {"schema"}
    assert checks["schema"]["next_step"] == "run `medcbir db upgrade`"


def test_an_encoder_is_retired_only_after_a_yes(filled: str, clone: Callable[..., str], run_medcbir: Run) -> None:
    url = clone(filled)
    arguments = ("encoders", "retire", "efficientnet_lite0", "--database-url", url)
    done = run_medcbir(*arguments)  # nobody answers
    assert done.returncode == 1
    assert "This drops 19 vectors of efficientnet_lite0." in done.stderr
    assert done.stderr.endswith("Error: not confirmed, so nothing was changed; --yes answers beforehand\n")
    done = run_medcbir(*arguments, "--yes")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"efficientnet_lite0: 19 vectors dropped, [1-9]\d* results kept\n", done.stdout)
    done = run_medcbir("search", "--id", 1, "--database-url", url)
    assert done.returncode == 1
    assert "no vectors of encoder 'efficientnet_lite0'" in done.stderr
    assert run_medcbir("evaluate", "first", "--database-url", url).returncode == 0  # the run's metrics stay
