"""medcbir classify: shapes that programs read, numbers that scikit-learn confirms, and Ctrl-C."""

import csv
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.random import default_rng
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

RunMedcbir = Callable[..., CompletedProcess[str]]


def collection(folder: Path, url: str, run_medcbir: RunMedcbir, size: int) -> tuple[Any, Any, Any]:
    """Images of three classes in the database, with vectors of encoder `e`."""
    rng = default_rng(0)
    y = rng.integers(0, 3, size)
    vectors = (rng.normal(size=(3, 6))[y] + 0.8 * rng.normal(size=(size, 6))).astype(np.float32)
    split = rng.choice(["train", "val", "test"], size)
    rows = [f"{number},{split[number]},CT,chest,f{y[number]}" for number in range(size)]
    (folder / "m.csv").write_text("uri,split,modality,region,finding\n" + "\n".join(rows) + "\n")
    np.savez(folder / "v.npz", uri=np.arange(size).astype(str), vector=vectors)
    for arguments in (("ingest", folder / "m.csv", "--metadata-only"), ("vectors", "import", folder / "v.npz")):
        more = ("--encoder", "e") if arguments[0] == "vectors" else ()
        done = run_medcbir(*arguments, *more, "--database-url", url)
        assert done.returncode == 0, done.stderr
    return split, y, vectors


@pytest.fixture
def classify(run_medcbir: RunMedcbir, database_url: str) -> Callable[..., CompletedProcess[str]]:
    def run(*arguments: object) -> CompletedProcess[str]:
        done = run_medcbir("classify", *arguments, "--encoder", "e", "--database-url", database_url)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_both_methods_in_every_format(
    run_medcbir: RunMedcbir, classify: Callable[..., CompletedProcess[str]], database_url: str, tmp_path: Path
) -> None:
    split, y, vectors = collection(tmp_path, database_url, run_medcbir, 240)
    found = json.loads(classify("knn", "-k", 7, "--format", "json").stdout)
    assert (found["method"], found["encoder"], found["k"], found["run"]) == ("knn", "e", 7, "e-1")
    train, test = split == "train", split == "test"
    theirs = KNeighborsClassifier(7, metric="cosine", algorithm="brute").fit(vectors[train], y[train])
    shares = theirs.predict_proba(vectors[test])
    nearest = y[train][theirs.kneighbors(vectors[test])[1]]
    guess = [
        next(each for each in row if share[each] == share.max()) for row, share in zip(nearest, shares, strict=True)
    ]
    values = {(each["metric"], each["average"]): each["value"] for each in found["metrics"]}
    assert set(values) == {(metric, average) for metric in ("f1", "auprc") for average in ("micro", "macro")}
    for average in ("micro", "macro"):
        assert values["f1", average] == pytest.approx(f1_score(y[test], guess, average=average), abs=1e-12)

    chosen = json.loads(classify("knn", "--max-k", 20, "--weights", "similarity", "--format", "json").stdout)
    assert 1 <= chosen["k"] <= 20
    assert len(chosen["certificate"]["auprc_by_k"]) == 20
    rows = list(csv.DictReader(io.StringIO(classify("linear", "--epochs", 3, "--by-class", "--format", "csv").stdout)))
    assert {row["class"] for row in rows} == {f"CT/chest/f{each}" for each in range(3)}
    assert len(rows) == 12
    assert "\\begin{tabular}" in classify("linear", "--epochs", 1, "--device", "cpu", "--format", "latex").stdout
    assert "| f1 | micro |" in classify("knn", "-k", 7, "--format", "markdown").stdout
    assert "linear by e" in classify("linear", "--epochs", 1, "--balanced").stdout


def test_mistakes_are_one_line(run_medcbir: RunMedcbir, database_url: str, tmp_path: Path) -> None:
    collection(tmp_path, database_url, run_medcbir, 30)
    for arguments in (("knn", "-k", "0"), ("knn", "-k", "many"), ("linear", "--lr", "-1")):
        done = run_medcbir("classify", *arguments, "--encoder", "e", "--database-url", database_url)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        assert "Error" in done.stderr


def test_ctrl_c_leaves_nothing_and_a_rerun_works(
    run_medcbir: RunMedcbir,
    start_medcbir: Callable[..., "Popen[str]"],
    classify: Callable[..., CompletedProcess[str]],
    database_url: str,
    tmp_path: Path,
) -> None:
    collection(tmp_path, database_url, run_medcbir, 3000)
    command = ("classify", "linear", "--encoder", "e", "--epochs", 100_000, "--patience", 0, "--batch-size", 4)
    with start_medcbir(*command, "--database-url", database_url) as process:
        assert process.stderr is not None
        assert "train" in process.stderr.readline()  # the stage has begun
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in told
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM medcbir.classification").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM medcbir.prediction").fetchone() == (0,)
    assert json.loads(classify("linear", "--epochs", 2, "--format", "json").stdout)["queries"] > 0
