"""Benchmarks from first step to last, and what is done again when something has changed."""

import json
from pathlib import Path
from typing import Any

import medcbir
from medcbir.bench import run
from medcbir.bench.run import Benchmark

SCALE = 0.002


def rehearse(db: medcbir.Database, out: Path, **options: Any) -> Benchmark:
    return run(db, suite="scale", scale=SCALE, out=out, skip=["report", "map"], **options)


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
