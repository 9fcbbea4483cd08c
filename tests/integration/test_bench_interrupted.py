"""Benchmarks that are interrupted and killed in every step, and after it: the same results as undisturbed."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rehearsal import SCALE, Place, Stop, rehearse

import medcbir
from medcbir.bench import run, smoke
from medcbir.bench.suites import SuiteName
from medcbir.retrieval.sharing import worker
from medcbir.store.connection import open_database
from medcbir.types import Filter, Silent

STEPS = {
    "scale": 13,
    "smoke": 22,
}
"""How many steps of a suite have something to do."""

FOUND_AGAIN = {"retrieve", "same-patient", "neighbours", "knn", "linear", "ablate", "map"}
"""Kinds of steps that find what they had finished, so that nothing is computed or stored twice."""

COMMON = {*FOUND_AGAIN, "evaluate", "data", "report"}
"""Those of both suites: scale has them stopped in all ways, smoke in one of them in turn."""

SPEED = {"encoding-speed", "retrieval-speed"}
"""Those that leave nothing to be found again, and take long: one is interrupted, the other killed."""

TIMES = ("steps", "cost", "speed_")
"""How the names of tables begin that hold nothing but times."""


def kind_of(step: str) -> str:
    """Names of encoders have no hyphen here."""
    return step if step in SPEED else step.rpartition("-")[0] or step


def stops(place: Place, number: int, step: str) -> list[Stop]:
    """Where a benchmark is stopped in the step and at its end, or its beginning, which is the end of the one before."""
    half = place.seconds(step) / 2
    interrupted = Stop(step, "inside", half, signal.SIGINT)
    killed = Stop(step, "inside", half)
    unsaved = Stop(step, "unsaved")
    if place.suite == "smoke" and kind_of(step) in COMMON:
        return [(interrupted, killed, unsaved)[number % 3]]
    if kind_of(step) in SPEED:
        return [Stop(step, "inside"), (interrupted, killed)[number % 2]]
    return [interrupted, killed, unsaved]


def results(db: medcbir.Database, out: Path) -> dict[str, Any]:
    """All that a benchmark leaves, without times and ids."""
    found: dict[str, Any] = {file.name: file.read_text() for file in sorted((out / "evaluation").glob("*.json"))}
    for file in sorted((out / "tables").glob("*.json")):
        rows = [] if file.name.startswith(TIMES) else json.loads(file.read_text())["rows"]
        found[f"tables/{file.name}"] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    for name, statement in {
        "hits": "SELECT r.name, q.uri, q.frame, h.rank, i.uri, i.frame, h.distance FROM hit AS h JOIN run AS r "
        "USING (run_id) JOIN image AS i USING (image_id) JOIN image AS q ON q.image_id = h.query_id",
        "predictions": "SELECT c.name, i.uri, i.frame, g.name, ARRAY(SELECT l.name FROM unnest(coalesce(p.label_ids, "
        "c.label_ids)) WITH ORDINALITY AS u (label_id, place) JOIN label AS l USING (label_id) ORDER BY u.place), "
        "p.scores FROM prediction AS p JOIN classification AS c USING (classification_id) "
        "JOIN image AS i USING (image_id) LEFT JOIN label AS g ON g.label_id = p.predicted_label_id",
        "ablations": "SELECT a.name, b.seed, b.images_per_class, b.n, l.name, b.queries, b.matches "
        "FROM ablation_class AS b JOIN ablation AS a USING (ablation_id) JOIN label AS l USING (label_id)",
        "maps": "SELECT p.name, i.uri, i.frame, q.x, q.y FROM projection_image AS q "
        "JOIN projection AS p USING (projection_id) JOIN image AS i USING (image_id)",
        "unfinished": "SELECT name FROM unfinished_run",
        "databases": "SELECT datname FROM pg_database WHERE datname LIKE 'medcbir_bench%%'",
    }.items():
        found[name] = sorted(db.query(statement), key=repr)
    return found


@pytest.fixture
def place(clone: Callable[..., str], tmp_path: Path) -> Callable[..., Place]:
    """A new place for a benchmark, by a name of the test's."""

    def make(suite: SuiteName, name: str) -> Place:
        images = smoke._collection() if suite == "smoke" else None
        return Place(suite, clone(), tmp_path / name / "data", tmp_path / name / "out", images)

    return make


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", ["scale", "smoke"])
def test_interrupted_and_killed_in_every_step_and_between_them_it_ends_with_the_same_results(
    suite: SuiteName, place: Callable[..., Place]
) -> None:
    whole, broken = place(suite, "whole"), place(suite, "broken")
    rehearse(whole)
    done = [file.stem for file in sorted((whole.out / "steps").glob("*.json"), key=lambda file: file.stat().st_mtime)]
    assert len(done) == STEPS[suite]
    unsaved = set()
    for number, step in enumerate(done):
        for stop in stops(whole, number, step):
            rehearse(broken, stop)
            unsaved |= {step} if stop.how == "unsaved" else set()
    rehearse(broken)
    with (
        medcbir.connect(whole.conninfo, data_dir=whole.data_dir) as one,
        medcbir.connect(broken.conninfo, data_dir=broken.data_dir) as other,
    ):
        expected, found = results(one, whole.out), results(other, broken.out)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name
    assert expected["hits"]
    assert expected["predictions"]
    assert (found["unfinished"], found["databases"]) == ([], [])
    assert [each.name for each in (broken.out / "speed").glob(".*")] == []
    found_again = {step for step in done if broken.seconds(step) is None}
    assert {step for step in unsaved if kind_of(step) in FOUND_AGAIN} <= found_again
    assert {
        kind_of(step) for step in found_again
    } <= FOUND_AGAIN  # stopped inside, some had already stored what they made


RETRIEVED = ["catalogue", "vectors", "retrieve"]


@pytest.fixture
def catalogued(db: medcbir.Database, tmp_path: Path) -> Callable[..., Any]:
    """Goes on with a benchmark that has its images and vectors; gives the outcome of its retrieval."""

    def go_on() -> Any:
        done = run(db, suite="scale", scale=SCALE, out=tmp_path / "out", only=RETRIEVED)
        return next(each for each in done.outcomes if each.step.kind == "retrieve")

    run(db, suite="scale", scale=SCALE, out=tmp_path / "out", only=RETRIEVED[:2])
    return go_on


class Broken(Silent):
    """Breaks off when it advances."""

    def advance(self, items: int) -> None:
        raise KeyboardInterrupt


def leave_unfinished(db: medcbir.Database, n: int) -> None:
    """Leave an unfinished run of the benchmark's name that keeps `n` hits."""
    with pytest.raises(KeyboardInterrupt):
        db.retrieve(encoder="synthetic", n=n, name="bench-scale-synthetic", progress=Broken())
    assert [(each.name, each.n) for each in db.unfinished_runs()] == [("bench-scale-synthetic", n)]


def test_an_unfinished_run_of_its_name_that_was_asked_for_otherwise_makes_room(
    db: medcbir.Database, catalogued: Callable[..., Any]
) -> None:
    leave_unfinished(db, 3)
    assert catalogued().status == "done"
    assert db.unfinished_runs() == []
    assert [(each.name, each.n) for each in db.runs()] == [("bench-scale-synthetic", 10)]


def test_an_unfinished_run_that_somebody_is_at_stays_and_the_step_says_so(
    db: medcbir.Database, catalogued: Callable[..., Any]
) -> None:
    leave_unfinished(db, 3)
    with open_database(db.conninfo, install="never") as other, worker(other) as number:
        db.query("UPDATE unfinished_run SET workers = ARRAY[%(worker)s::integer] RETURNING 1", {"worker": number})
        outcome = catalogued()
    assert outcome.status == "failed"
    assert "another process computes run bench-scale-synthetic" in outcome.reason
    assert [each.n for each in db.unfinished_runs()] == [3]
    assert catalogued().status == "done"


def test_a_finished_run_of_its_name_that_another_benchmark_made_is_not_taken_for_its_own(
    db: medcbir.Database, catalogued: Callable[..., Any], tmp_path: Path
) -> None:
    assert catalogued().status == "done"
    state = tmp_path / "out" / "steps" / "retrieve-synthetic.json"
    whole = json.loads(state.read_text())
    state.write_text(json.dumps({key: whole[key] for key in ("step", "inputs")}))  # as if it had been killed
    db.drop_run("bench-scale-synthetic")
    db.retrieve(
        encoder="synthetic", n=10, queries=Filter(datasets=["nih14"], split="test"), name="bench-scale-synthetic"
    )
    outcome = catalogued()
    assert (outcome.status, outcome.seconds is None) == ("done", False)
    assert db.run("bench-scale-synthetic").queries == whole["facts"]["queries"]
    state.write_text(json.dumps({key: whole[key] for key in ("step", "inputs")}))
    assert catalogued().seconds is None  # its own is found again
