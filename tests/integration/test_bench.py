"""Benchmarks from first step to last: gone on with after any interruption, and checked against the truth."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import pytest

import medcbir
from medcbir.bench import Outcome, run
from medcbir.bench.run import Benchmark
from medcbir.bench.synthetic import SPLITS, Collection
from medcbir.types import Silent

SCALE = 0.002


@pytest.fixture
def open_db(clone: Callable[..., str], tmp_path: Path) -> Iterator[Callable[[str], medcbir.Database]]:
    """Opens databases of their own, by a name of the test's."""
    opened: dict[str, medcbir.Database] = {}

    def give(name: str) -> medcbir.Database:
        if name not in opened:
            opened[name] = medcbir.connect(clone(), data_dir=tmp_path / name / "data")
        return opened[name]

    yield give
    for each in opened.values():
        each.close()


def rehearse(db: medcbir.Database, out: Path, **options: Any) -> Benchmark:
    return run(db, suite="scale", scale=SCALE, out=out, skip=["report", "map"], **options)


def results(db: medcbir.Database, out: Path) -> dict[str, Any]:
    """All numbers that a benchmark leaves, without times and ids."""
    found: dict[str, Any] = {file.name: file.read_text() for file in sorted((out / "evaluation").iterdir())}
    for file in sorted((out / "steps").glob("*.json")):
        facts = json.loads(file.read_text())["facts"]
        if "classification" in facts:
            found[file.name] = db.evaluate_classes(facts["classification"], by_class=True)
        if "ablation" in facts:
            found[file.name] = db.query(
                "SELECT * FROM ablation_class WHERE ablation_id = %(id)s ORDER BY seed, images_per_class, n, label_id",
                {"id": facts["ablation"]},
            )
            found[file.name] = [row[1:] for row in found[file.name]]
        if "run" in facts:
            found[file.name] = db.query(
                "SELECT q.uri, h.rank, i.uri, h.distance FROM hit AS h JOIN image AS i USING (image_id) "
                "JOIN image AS q ON q.image_id = h.query_id WHERE h.run_id = %(id)s ORDER BY 1, 2",
                {"id": facts["run_id"]},
            )
    return found


class InterruptedIn(Silent):
    """Progress that breaks off like Ctrl-C when a step, or a later one, has advanced for the first time."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.inside = self.broke = False

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        self.inside = f"] {self.step}:" in stage

    def advance(self, items: int) -> None:
        if self.inside:
            self.broke = True
            raise KeyboardInterrupt


def test_a_benchmark_broken_off_in_and_after_every_step_ends_with_the_same_results(
    open_db: Callable[[str], medcbir.Database], tmp_path: Path
) -> None:
    whole = rehearse(open_db("whole"), tmp_path / "whole")
    assert not whole.failed, whole.failed
    done = [each.step.name for each in whole.outcomes if each.status == "done"]
    assert len(done) == 11

    broken, out, broke_inside = open_db("broken"), tmp_path / "broken", []
    for name in done:
        inside = InterruptedIn(name)

        def stop_after(outcome: Outcome, name: str = name) -> None:
            assert outcome.status != "failed", outcome.reason
            if outcome.step.name == name:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            rehearse(broken, out, progress=inside, tell=stop_after)
        broke_inside += [name] if inside.broke else []
        with pytest.raises(KeyboardInterrupt):
            rehearse(broken, out, tell=stop_after)
    assert {"catalogue", "vectors-synthetic", "retrieve-synthetic", "linear-synthetic"} <= set(broke_inside)
    assert {each.status for each in rehearse(broken, out).outcomes if each.step.name in done} == {"unchanged"}
    assert results(broken, out) == results(open_db("whole"), tmp_path / "whole")


@pytest.mark.parametrize("while_it_says", ["vectors of radimagenet CT", "brute force"])
def test_a_killed_benchmark_goes_on_and_ends_with_the_same_results(
    while_it_says: str,
    start_medcbir: Callable[..., Any],
    open_db: Callable[[str], medcbir.Database],
    tmp_path: Path,
) -> None:
    db, out = open_db("killed"), tmp_path / "killed" / "out"
    kinds = ("catalogue", "vectors", "retrieve", "truth", "evaluate")
    arguments = ["bench", "--suite", "scale", "--scale", SCALE, "--out", out, "--database-url", db.conninfo]
    arguments += [part for kind in kinds for part in ("--only", kind)]
    arguments += ["--data-dir", db.settings.data_dir]
    with start_medcbir(*arguments) as process:
        for line in process.stderr:
            if while_it_says in line:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.5)  # the server sees the connection end
    [gone_on, whole] = [
        rehearse(open_db(name), folder, only=kinds)
        for name, folder in (("killed", out), ("whole", tmp_path / "whole" / "out"))
    ]
    assert not gone_on.failed
    assert not whole.failed
    assert results(db, out) == results(open_db("whole"), tmp_path / "whole" / "out")


def test_a_changed_parameter_or_vector_repeats_what_depends_on_it(db: medcbir.Database, tmp_path: Path) -> None:
    kinds = ["catalogue", "vectors", "retrieve", "evaluate"]
    first = rehearse(db, tmp_path / "out", only=kinds)
    assert [each.step.kind for each in first.outcomes if each.status == "done"] == kinds
    [(run_id,)] = db.query("SELECT run_id FROM run")
    db.query("DELETE FROM embedding WHERE image_id = (SELECT max(image_id) FROM embedding) RETURNING 1")
    again = rehearse(db, tmp_path / "out", only=kinds)
    assert [each.step.kind for each in again.outcomes if each.status == "done"] == kinds[1:]
    assert db.query("SELECT count(*), min(run_id) > %(id)s FROM run", {"id": run_id}) == [(1, True)]


def test_scale_leaves_a_database_with_other_images_alone(db: medcbir.Database, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,split,modality,region,finding\nours.png,test,CT,chest,nodule\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    [catalogue] = rehearse(db, tmp_path / "out", only=["catalogue"]).failed
    assert "holds others" in catalogue.reason
    assert db.query("SELECT count(*) FROM image") == [(1,)]


def publish(collection: Collection, folder: Path) -> None:
    """The collection as the published record has it: a one-hot table and an HDF5 file of vectors for each dataset."""
    for dataset in {group.dataset for group in collection.groups}:
        labels = [label for label in collection.labels if any(label in g.labels for g in collection.groups)]
        chunks = [images for images in collection.images() if images.group.dataset == dataset]
        with (folder / f"{dataset}.csv").open("w") as table, h5py.File(folder / f"{dataset}.h5", "w") as vectors:
            table.write(",".join(["filepath,dataset,split,modality,anatomic_region", *(each.name for each in labels)]))
            for images in chunks:
                for uri, split, number, vector in zip(
                    images.uris, images.splits, images.classes, collection.vectors(images), strict=True
                ):
                    label = collection.labels[number]
                    marks = ["1" if each is label else "0" for each in labels]
                    row = [uri, dataset, SPLITS[split], label.modality, label.region, *marks]
                    table.write("\n" + ",".join(row))
                    vectors.create_dataset(uri, data=vector)


def test_published_tables_and_vectors_become_the_papers_tables_number_for_number_as_the_views_have_them(
    db: medcbir.Database, tmp_path: Path
) -> None:
    publish(Collection(scale=0.001, dim=32, separability=1.0), tmp_path)
    for file in sorted(tmp_path.glob("*.csv")):
        db.ingest(file, metadata_only=True)
    for file in sorted(tmp_path.glob("*.h5")):
        db.import_vectors(file, encoder="biomedclip")
    kinds = ["data", "retrieve", "evaluate", "report"]
    done = run(db, suite="paper", out=tmp_path / "out", only=[*kinds, "weights"], encoders=["biomedclip", "clip"])
    assert [each.step.name for each in done.failed] == ["weights-clip"]  # which stops nothing else
    assert {each.step.name for each in done.outcomes if each.status == "done"} == {
        "data",
        "retrieve-biomedclip",
        "evaluate-biomedclip",
        "report",
    }
    [row] = json.loads((tmp_path / "out" / "tables" / "retrieval.json").read_text())["rows"]
    of_views = db.query(
        "SELECT e.n, e.average, e.value FROM evaluation AS e JOIN run AS r USING (run_id) "
        "WHERE r.name = 'bench-paper-biomedclip' AND e.metric = 'precision' AND e.facet = 'all' "
        "AND e.second_facet = 'all' AND NOT e.possible_only AND e.n = any(%(n)s)",
        {"n": [1, 3, 5, 10]},
    )
    assert len(of_views) == 8
    assert {f"p_at_{n}_{average}": value for n, average, value in of_views} == pytest.approx(
        {name: cell["value"] for name, cell in row.items() if name != "encoder"}, rel=1e-12
    )
    assert 0 < row["p_at_1_micro"]["value"] < 1
    assert row["p_at_1_micro"]["published"] == 0.594
    evaluated = json.loads((tmp_path / "out" / "evaluation" / "biomedclip.json").read_text())
    assert {
        (each["n"], each["average"]): each["value"]
        for each in evaluated
        if (each["metric"], each["definition"]) == ("precision", "paper")
    } == pytest.approx({(n, average): value for n, average, value in of_views}, rel=1e-11)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "fewer than published" in page


def test_the_smoke_suite_twice_gives_the_same_files_and_does_nothing_the_second_time(
    db: medcbir.Database, tmp_path: Path
) -> None:
    def smoke() -> tuple[dict[str, str], dict[str, bytes]]:
        done = run(db, suite="smoke", out=tmp_path, skip=["map", "encoding-speed", "retrieval-speed"])
        files = [tmp_path / "report.html", tmp_path / "report.md", *(tmp_path / "tables").iterdir()]
        files += (tmp_path / "evaluation").iterdir()
        return {each.step.name: each.status for each in done.outcomes}, {file.name: file.read_bytes() for file in files}

    first, files = smoke()
    assert "failed" not in first.values()
    assert [name for name, status in first.items() if status == "done"] == [
        *("catalogue", "data", "weights-efficientnet_lite0", "encode-efficientnet_lite0"),
        *(f"{kind}-efficientnet_lite0" for kind in ("retrieve", "evaluate", "neighbours", "knn", "linear", "ablate")),
        *(f"{kind}-pixels_16x16" for kind in ("vectors", "retrieve", "evaluate", "neighbours", "knn", "linear")),
        *("ablate-pixels_16x16", "report"),
    ]
    assert len(json.loads(files["retrieval.json"])["rows"]) == 2
    again, same = smoke()
    assert {name for name, status in again.items() if status == "unchanged"} == {
        name for name, status in first.items() if status == "done"
    }
    assert same == files
