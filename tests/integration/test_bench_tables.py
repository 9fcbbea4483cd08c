"""The paper's tables from the publishers' layouts to the report, beside what their files give without medcbir."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import medcbir
from medcbir.bench import run
from medcbir.bench.synthetic import SPLITS, Collection
from medcbir.evaluation.published import published

N = (1, 3, 5, 10)
Table = dict[tuple[str, int], float]


def content(out: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "tables" / f"{name}.json").read_text())["rows"]
    return rows


def close(value: Any) -> Any:
    """The same but for the order in which a plan adds up, and the twelve decimals of a table."""
    return pytest.approx(value, abs=2e-12)


def precision(queries: list[tuple[str, str, Any]], index: list[tuple[str, str | None, Any]]) -> Table:
    """Micro and macro P@N by float64, of (patient, class, vector); an image of the query's patient is left out."""
    candidates = np.array([vector for *_, vector in index], dtype=np.float64)
    of_class: dict[str, list[list[float]]] = defaultdict(list)
    for patient, label, vector in queries:
        order = np.argsort(1 - candidates @ np.asarray(vector, dtype=np.float64), kind="stable")
        hits = [index[place][1] for place in order if index[place][0] != patient][: max(N)]
        of_class[label].append([hits[:n].count(label) / n for n in N])
    everything = [values for each in of_class.values() for values in each]
    averages = {
        "micro": np.mean(everything, axis=0),
        "macro": np.mean([np.mean(values, axis=0) for values in of_class.values()], axis=0),
    }
    return {(average, n): float(values[place]) for average, values in averages.items() for place, n in enumerate(N)}


def covid_lists(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Split, patient, file and class of every line of COVIDx, the first of a file in test, then train."""
    seen = set()
    for split in ("test", "train"):
        for line in (folder / f"{split}.txt").read_text().splitlines():
            fields = line.split(" ")
            if len(fields) >= 4:
                patient, name, label = fields[0], " ".join(fields[1:-2]), fields[-2]
                if name not in seen:
                    seen.add(name)
                    yield split, patient, name, label


def test_table_3_is_what_the_lists_and_vectors_of_the_covid_set_give(
    db: medcbir.Database, tree: Callable[[str], Path], tmp_path: Path
) -> None:
    db.ingest(tree("radimagenet"), encode=False)
    db.ingest(tree("covid"), encode=False)
    kinds = ["data", "weights", "encode", "retrieve", "evaluate", "covid", "report"]
    first = run(db, suite="paper", out=tmp_path / "first", encoders=["efficientnet_lite0"], only=kinds)
    assert first.failed == ()
    db.export_vectors(tmp_path / "all.npz", encoder="efficientnet_lite0")
    db.import_vectors(tmp_path / "all.npz", encoder="biomedclip")  # the same under a name of which the paper has values
    done = run(db, suite="paper", out=tmp_path, encoders=["efficientnet_lite0", "biomedclip"], only=kinds)
    assert done.failed == ()
    assert {each.step.name for each in done.outcomes if each.step.kind == "covid" and each.status == "done"} == {
        "covid-efficientnet_lite0",
        "covid-biomedclip",
    }

    db.export_vectors(tmp_path / "covid.npz", encoder="efficientnet_lite0", dataset="covid")
    exported = np.load(tmp_path / "covid.npz")
    vectors = dict(zip(exported["uri"].tolist(), exported["vector"], strict=True))
    listed = [each for each in covid_lists(tree("covid")) if each[2] in vectors]
    classes = {"normal", "pneumonia", "COVID-19"}
    queries = [(patient, label, vectors[name]) for split, patient, name, label in listed if split == "test"]
    index = [
        (patient, label if label in classes else None, vectors[name])
        for split, patient, name, label in listed
        if split == "train"
    ]
    assert (len(queries), len(index)) == (30, 210)
    expected = precision(queries, index)
    assert 0 < expected["micro", 1] < 1

    rows = {row["encoder"]: row for row in content(tmp_path, "covid")}
    assert rows.keys() == {"EfficientNet-Lite0", "BiomedCLIP"}
    for row in rows.values():
        assert {key: row[f"p_at_{key[1]}_{key[0]}"]["value"] for key in expected} == close(expected)
    for average, n in expected:
        theirs = published()["3", "biomedclip", "retrieval", "precision", n, average]
        cell = rows["BiomedCLIP"][f"p_at_{n}_{average}"]
        assert (cell["published"], cell["difference"]) == (theirs, close(cell["value"] - theirs))
        assert rows["EfficientNet-Lite0"][f"p_at_{n}_{average}"]["published"] is None
    retrieval = {row["encoder"]: row["p_at_1_micro"]["value"] for row in content(tmp_path, "retrieval")}
    assert retrieval["EfficientNet-Lite0"] != rows["EfficientNet-Lite0"]["p_at_1_micro"]["value"]
    assert db.query(
        "SELECT count(*) FROM hit JOIN run USING (run_id) JOIN image USING (image_id) JOIN dataset "
        "USING (dataset_id) WHERE run.name LIKE '%%-covid' AND dataset.name <> 'covid'"
    ) == [(0,)]
    page = (tmp_path / "report.html").read_text()
    assert "COVID-19 chest X-rays (Table 3)" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert f"{expected['micro', 1]:.3f}" in page
    assert {row["dataset"] for row in content(tmp_path, "data")} == {"RadImageNet", "All"}


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


def images_of(folder: Path) -> dict[str, list[tuple[str, str, Any]]]:
    """Of each split uri, class and vector of every image, read from the published files."""
    found: dict[str, list[tuple[str, str, Any]]] = defaultdict(list)
    for table in sorted(folder.glob("*.csv")):
        with table.open(newline="") as rows, h5py.File(table.with_suffix(".h5")) as vectors:
            for row in csv.DictReader(rows):
                (label,) = [name for name, mark in row.items() if mark == "1"]
                found[row["split"]].append((row["filepath"], label, vectors[row["filepath"]][()]))
    return found


def test_published_tables_and_vectors_become_the_papers_tables_number_for_number(
    db: medcbir.Database, tmp_path: Path
) -> None:
    """Against the views, and where float64 on the published files gives the number, against that as well."""
    folder, out = tmp_path / "record", tmp_path / "out"
    folder.mkdir()
    publish(Collection(scale=0.001, dim=32, separability=1.0), folder)
    for file in sorted(folder.glob("*.csv")):
        db.ingest(file, metadata_only=True)
    for file in sorted(folder.glob("*.h5")):
        db.import_vectors(file, encoder="biomedclip")
    slow = ["map", "encoding-speed", "retrieval-speed"]
    done = run(db, suite="paper", out=out, skip=slow, encoders=["biomedclip", "clip"])
    assert [each.step.name for each in done.failed] == ["weights-clip"]  # which stops nothing else
    kinds = ["retrieve", "evaluate", "neighbours", "knn", "linear"]
    assert {each.step.name for each in done.outcomes if each.status == "done"} == {
        "data",
        "report",
        *(f"{kind}-biomedclip" for kind in kinds),
    }

    (row,) = content(out, "retrieval")
    (capped,) = content(out, "retrieval_capped")
    found = images_of(folder)
    by_hand = precision(found["test"], found["train"])
    for average in ("micro", "macro"):
        views = db.query(
            f"SELECT p.n, p.precision, p.precision_capped FROM precision_{average} AS p JOIN run AS r USING (run_id) "
            "WHERE r.name = 'bench-paper-biomedclip' AND p.n = any(%(n)s)",
            {"n": list(N)},
        )
        assert len(views) == 4
        for n, value, of_capped in views:
            cell = row[f"p_at_{n}_{average}"]
            assert cell["value"] == close(value)
            assert value == pytest.approx(by_hand[average, n], abs=1e-9)
            assert capped[f"p_at_{n}_{average}"]["value"] == close(of_capped)
            theirs = published()["2", "biomedclip", "retrieval", "precision", n, average]
            assert (cell["published"], cell["difference"]) == (theirs, close(value - theirs))
    intervals = {
        (m.average, m.n): (m.ci_low, m.ci_high)
        for m in db.evaluate("bench-paper-biomedclip")
        if m.definition == "paper"
    }
    for (average, n), ends in intervals.items():
        cell = row[f"p_at_{n}_{average}"]
        assert (cell["ci_low"], cell["ci_high"]) == (close(ends[0]), close(ends[1]))

    (classified,) = content(out, "classification")
    views = db.query(
        "SELECT c.method, f.average, f.f1, a.auprc, (c.parameters ->> 'k')::integer FROM classification AS c "
        "JOIN classification_f1 AS f USING (classification_id) "
        "JOIN classification_auprc AS a USING (classification_id, average) WHERE f.average IN ('micro', 'macro')"
    )
    assert len(views) == 4
    for method, average, f1, auprc, k in views:
        assert classified[f"{method}_{average}_f1"]["value"] == close(f1)
        assert classified[f"{method}_{average}_auprc"]["value"] == close(auprc)
        assert k is None or classified["k"] == k

    classes = dict(
        db.query(
            "SELECT l.name, p.precision FROM precision_class AS p JOIN run AS r USING (run_id) "
            "JOIN label AS l USING (label_id) WHERE r.name = 'bench-paper-biomedclip' AND p.n = 1"
        )
    )
    assert {each["class"]: each["biomedclip"] for each in content(out, "classes")} == close(classes)
    for facet in ("kind", "modality", "region", "dataset"):
        views = db.query(
            "SELECT e.group_name, e.value FROM evaluation AS e JOIN run AS r USING (run_id) "
            "WHERE r.name = 'bench-paper-biomedclip' AND e.metric = 'precision' AND e.facet = %(facet)s "
            "AND e.second_facet = 'all' AND NOT e.possible_only AND e.n = 1 AND e.average = 'micro'",
            {"facet": facet},
        )
        assert {each[facet]: each["biomedclip"] for each in content(out, f"by_{facet}")} == close(dict(views))

    totals = content(out, "data")[-1]
    assert [totals[split]["value"] for split in SPLITS] == [len(found[split]) for split in SPLITS]
    evaluated = json.loads((out / "evaluation" / "biomedclip.json").read_text())
    assert {
        (each["average"], each["n"]): each["value"]
        for each in evaluated
        if (each["metric"], each["definition"]) == ("precision", "paper")
    } == {(average, n): close(row[f"p_at_{n}_{average}"]["value"]) for average in ("micro", "macro") for n in N}
    assert "fewer than published" in (out / "report.html").read_text()
