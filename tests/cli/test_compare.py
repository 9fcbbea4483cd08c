"""medcbir compare and ablate: shapes that programs read, and one line for a mistake."""

import csv
import io
import json
from collections.abc import Callable
from subprocess import CompletedProcess

import psycopg
import pytest

RunMedcbir = Callable[..., CompletedProcess[str]]


def test_compare_prints_differences_of_two_runs(filled: str, run_medcbir: RunMedcbir) -> None:
    assert run_medcbir("retrieve", "-n", 3, "--name", "second", "--database-url", filled).returncode == 0
    try:
        done = run_medcbir("compare", "first", "second", "--n", "1,3", "--format", "json", "--database-url", filled)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["queries"], len(found["differences"]), found["runs"][0]["seen"]) == (6, 8, [])
        for each in found["differences"]:
            assert (each["first"], each["second"], each["difference"], each["p"], each["p_holm"]) == (
                ("first", "second", 0.0, 1.0, 1.0)
            )
            assert each["overlap"] == 1
        options = ["--n", 3, "--format", "markdown", "--database-url", filled]
        lines = run_medcbir("compare", "first", "second", *options).stdout.splitlines()
        assert lines[0].startswith("| first | second | metric | n |")
        assert lines[0].endswith("| p\\_holm | overlap |")
        assert len(lines) == 6
        done = run_medcbir("compare", "first", "second", "--n", "5", "--database-url", filled)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "run second keeps 3 hits per query" in done.stderr
    finally:
        with psycopg.connect(filled) as connection:
            connection.execute("SELECT medcbir.drop_run(run_id) FROM medcbir.run WHERE name = 'second'")


def test_leakage_is_a_comparison_of_one_run(filled: str, run_medcbir: RunMedcbir) -> None:
    done = run_medcbir("compare", "--leakage", "first", "--n", "1", "--format", "csv", "--database-url", filled)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["second"] for row in rows[::4]] == ["without same patient", "without duplicates", "without both"]
    assert {(row["metric"], row["definition"], row["seen"]) for row in rows} == {
        ("precision", "paper", "False"),
        ("precision", "capped", "False"),
    }
    assert "Note: the run itself was made without hits of the same patient" in done.stderr
    options = ("--n", "1", "--metric", "ndcg,vote", "--by", "modality", "--format", "json", "--database-url", filled)
    found = json.loads(run_medcbir("compare", "--leakage", "first", *options).stdout)["differences"]
    assert {(each["metric"], each["group"]) for each in found} == {
        (metric, modality) for metric in ("ndcg", "vote") for modality in ("CT", "MR")
    }
    assert len(found) == 3 * 2 * 2 * 2
    assert run_medcbir("compare", "--leakage", "first", "second", "--database-url", filled).returncode == 2


def test_ablate_index_size_prints_a_point_per_size(filled: str, run_medcbir: RunMedcbir) -> None:
    options = ("--sizes", "1,3", "--seeds", 2, "--n", "1,2", "--database-url", filled)
    done = run_medcbir("ablate", "index-size", *options, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["classes"], found["queries_per_class"], found["larger_than"]) == (3, 2, 3)
    assert [(each["n"], each["images_per_class"]) for each in found["points"]] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    done = run_medcbir("ablate", "index-size", *options, "--format", "markdown")
    assert done.stdout.startswith("| images\\_per\\_class | n |")
    done = run_medcbir("ablate", "index-size", "--database-url", filled)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no class has more than 3000 index images" in done.stderr


@pytest.mark.parametrize("sizes", ["", "a", "0,3"])
def test_wrong_sizes_are_told(filled: str, run_medcbir: RunMedcbir, sizes: str) -> None:
    done = run_medcbir("ablate", "index-size", "--sizes", sizes, "--database-url", filled)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
