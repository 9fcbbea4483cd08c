"""medcbir retrieve and evaluate: shapes that programs read, numbers that a brute force confirms."""

import csv
import io
import json
import re
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pytest

RunMedcbir = Callable[..., CompletedProcess[str]]
METRIC = {"n", "average", "definition", "value", "std", "ci_low", "ci_high"}


def evaluate(run_medcbir: RunMedcbir, url: str, *arguments: object) -> dict[str, Any]:
    done = run_medcbir("evaluate", *arguments, "--format", "json", "--database-url", url)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def brute_force(url: str, n: int) -> tuple[float, float]:
    """Micro and macro P@N of the test images among the training images of other patients, in float64."""
    with psycopg.connect(url, options="-c search_path=medcbir,public") as connection:
        rows = connection.execute(
            "SELECT v.split, v.patient, l.name, v.efficientnet_lite0::real[] FROM image_vectors AS v "
            "LEFT JOIN image_label USING (image_id) LEFT JOIN label AS l USING (label_id) ORDER BY image_id"
        ).fetchall()
    index = [row for row in rows if row[0] == "train"]
    by_class: dict[str, list[float]] = {}
    for _, patient, label, vector in (row for row in rows if row[0] == "test"):
        allowed = [row for row in index if row[1] != patient]
        distances = [1 - float(np.dot(np.float64(row[3]), np.float64(vector))) for row in allowed]
        nearest = np.argsort(distances, kind="stable")[:n]
        by_class.setdefault(label, []).append(sum(allowed[at][2] == label for at in nearest) / n)
    micro = np.mean([value for values in by_class.values() for value in values])
    return float(micro), float(np.mean([np.mean(values) for values in by_class.values()]))


def test_json_has_the_promised_shape_and_right_numbers(filled: str, run_medcbir: RunMedcbir) -> None:
    found = evaluate(run_medcbir, filled, "first", "--n", "1,5")
    assert (found["run"], found["encoder"], found["queries"], found["index"]) == ("first", "efficientnet_lite0", 6, 12)
    assert found.keys() >= {"run", "encoder", "queries", "index", "metrics"}
    assert found["seen"] == []
    metrics = {(each["n"], each["average"], each["definition"]): each for each in found["metrics"]}
    assert len(metrics) == len(found["metrics"]) == 8
    assert all(each.keys() >= METRIC for each in found["metrics"])
    for n in (1, 5):
        micro, macro = brute_force(filled, n)
        assert metrics[n, "micro", "paper"]["value"] == pytest.approx(micro, abs=1e-12)
        assert metrics[n, "macro", "paper"]["value"] == pytest.approx(macro, abs=1e-12)
    for each in metrics.values():
        assert each["ci_low"] - 1e-12 <= each["value"] <= each["ci_high"] + 1e-12
    assert brute_force(filled, 5)[0] < 1  # four images of a class in the index: 'paper' and 'capped' differ
    assert metrics[5, "micro", "capped"]["value"] > metrics[5, "micro", "paper"]["value"]


def test_without_a_name_the_newest_run_is_meant(filled: str, run_medcbir: RunMedcbir) -> None:
    found = evaluate(run_medcbir, filled)
    assert found["run"] == "first"
    assert {each["n"] for each in found["metrics"]} == {1, 3, 5}  # as far as the run goes


def test_by_class_there_is_a_group_for_each(filled: str, run_medcbir: RunMedcbir) -> None:
    found = evaluate(run_medcbir, filled, "first", "--by", "class", "--n", "3")
    groups = {each["group"] for each in found["metrics"]}
    assert groups == {"CT/chest/nodule", "CT/chest/mass_like", "MR/brain/grade_3^4 & 50% #1 {$x}~\\"}


def test_csv_is_read_back(filled: str, run_medcbir: RunMedcbir) -> None:
    done = run_medcbir("evaluate", "first", "--n", "5", "--format", "csv", "--database-url", filled)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    values = {(row["average"], row["definition"]): float(row["value"]) for row in rows}
    assert values["micro", "paper"] == pytest.approx(brute_force(filled, 5)[0], abs=1e-12)


def test_latex_is_a_whole_table_with_special_characters_escaped(filled: str, run_medcbir: RunMedcbir) -> None:
    done = run_medcbir("evaluate", "first", "--by", "class", "--format", "latex", "--database-url", filled)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    columns = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])
    assert columns is not None
    assert lines[-1] == r"\end{tabular}"
    body = [line for line in lines[1:-1] if line.strip() not in {r"\toprule", r"\midrule", r"\bottomrule"}]
    assert len(lines) - len(body) == 5
    for line in body:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns[1]) - 1
    assert r"CT/chest/mass\_like" in done.stdout
    assert not re.search(r"(?<!\\)[_%#$^~]", done.stdout)
    assert r"grade\_3\textasciicircum{}4 \& 50\% \#1 \{\$x\}\textasciitilde{}\textbackslash{} & " in done.stdout
    unescaped = re.sub(r"\\[{}]", "", done.stdout)
    assert unescaped.count("{") == unescaped.count("}")


def test_retrieve_prints_its_run_as_json(filled: str, run_medcbir: RunMedcbir) -> None:
    done = run_medcbir(
        "retrieve", "-n", 2, "--queries", "all", "--index", "all", "--format", "json", "--database-url", filled
    )
    run = json.loads(done.stdout)
    assert (run["n"], run["queries"], run["index"], run["encoder"]) == (2, 19, 19, "efficientnet_lite0")
    assert run["seconds"] > 0
    with psycopg.connect(filled) as connection:
        connection.execute("SELECT medcbir.drop_run(%s)", (run["run_id"],))
