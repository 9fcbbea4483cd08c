"""Silhouettes of a whole index against scikit-learn; what silhouettes and hubs are at their edges, by hand."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.random import default_rng
from sklearn.metrics import silhouette_samples
from stored_runs import Lists, RandomRun, random_run, store

import medcbir
from medcbir.errors import InputError, RunError


def test_silhouettes_over_a_whole_index_are_scikit_learns(db: medcbir.Database, tmp_path: Path) -> None:
    rng = default_rng(2)
    labels = np.append(rng.integers(0, 5, 89), 5)  # the last class has one image
    vectors = rng.normal(size=(6, 24))[labels] + 1.2 * rng.normal(size=(90, 24))
    rows = [f"{number},,train,CT,chest,finding {label}" for number, label in enumerate(labels)]
    (tmp_path / "m.csv").write_text("\n".join(["uri,patient,split,modality,region,finding", *rows]) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    np.savez(tmp_path / "v.npz", uri=np.arange(90).astype(str), vector=vectors)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    db.retrieve(encoder="e", n=5, queries="train", name="another")
    run = db.retrieve(encoder="e", n=89, queries="train", name="all")
    rows_found = db.query(
        "SELECT uri::int, silhouette, own_distance FROM silhouette_query JOIN image ON image_id = query_id "
        "WHERE run_id = %(run)s ORDER BY 1",
        {"run": run.run_id},
    )
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = np.clip(1 - unit @ unit.T, 0, None)
    np.fill_diagonal(distance, 0)
    wanted = silhouette_samples(distance, labels, metric="precomputed")
    found = np.array([value for _, value, _ in rows_found[:-1]])
    np.testing.assert_allclose(found, wanted[:-1], atol=1e-5)
    assert rows_found[-1] == (89, None, None)  # scikit-learn says 0 of a class of one
    classes = db.query(
        "SELECT name, queries, defined, own_only, none_own, silhouette, silhouette_std FROM silhouette_class "
        "JOIN label USING (label_id) WHERE run_id = %(run)s ORDER BY 1",
        {"run": run.run_id},
    )
    for label, row in enumerate(classes[:-1]):
        of_class = wanted[labels == label]
        assert row[1:5] == (len(of_class), len(of_class), 0, 0)
        assert row[5:] == (pytest.approx(of_class.mean(), abs=1e-5), pytest.approx(of_class.std(ddof=1), abs=1e-5))
    assert classes[-1][1:] == (1, 0, 0, 1, None, None)


def test_silhouettes_by_hand(db: medcbir.Database) -> None:
    """Own class at 0.1 and 0.3: a = 0.2. Classes 2 and 3 both at 0.4 on average: b = 0.4 of class 2, s = 0.2 / 0.4."""
    lists: Lists = {
        1: (1, 9, [0, 1, 2, 1, 3, 2]),
        2: (1, 9, [1, 1]),
        3: (1, 9, [2, 0]),
        4: (1, 9, []),
        5: (1, 9, [0]),
        6: (1, 9, [1, 2]),
        7: (1, 9, [2, 1]),
        8: (0, 0, [1, 2]),
    }
    distances = {
        1: [0.05, 0.1, 0.2, 0.3, 0.4, 0.6],
        2: [0.1, 0.2],
        3: [0.1, 0.2],
        4: [],
        5: [0.3],
        6: [0.0, 0.0],
        7: [0.1, 0.5],
        8: [0.1, 0.2],
    }
    store(db, lists, 6, distances=distances)
    rows = db.query(
        "SELECT query_id, own_distance, other_label_id, other_distance, silhouette FROM silhouette_query ORDER BY 1"
    )
    nothing = (None, None, None)
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[0][1:] == (pytest.approx(0.2), 2, pytest.approx(0.4), pytest.approx(0.5))
    assert rows[1][1:] == (pytest.approx(0.15), *nothing)
    assert rows[2][1:] == (None, 2, pytest.approx(0.1), None)
    assert rows[3][1:] == rows[4][1:] == (None, *nothing)
    assert rows[5][1:] == (0, 2, 0, 0)
    assert rows[6][4] == pytest.approx((0.1 - 0.5) / 0.5)
    ((queries, defined, own_only, none_own, mean),) = db.query(
        "SELECT queries, defined, own_only, none_own, silhouette FROM silhouette_class"
    )
    assert (queries, defined, own_only, none_own) == (7, 3, 1, 1)
    assert mean == pytest.approx((0.5 + 0 - 0.8) / 3)


def test_hubs_by_hand(db: medcbir.Database) -> None:
    """Four index images. k = 1: 3 0 0 0 times, mean 3/4, variance 27/16, third moment 81/32, skewness 2 / sqrt 3.

    k = 2: 3 2 1 0 times, which is symmetric. Every index image once: no skewness.
    """
    images = {1: [1, 2], 2: [1, 3], 3: [1, 2]}
    store(db, {1: (5, 1, [5, 6]), 2: (6, 1, [5, 0]), 3: (0, 0, [5, 6])}, 2, index=4, images=images)
    rows = db.query("SELECT k, never_retrieved, most_occurrences, skewness, bad_share FROM hubness ORDER BY k")
    assert rows == [(1, 3, 3, pytest.approx(2 / 3**0.5), 1 / 3), (2, 1, 3, pytest.approx(0, abs=1e-12), 2 / 6)]
    once = {1: [1], 2: [2]}
    second = store(db, {1: (5, 1, [5]), 2: (6, 1, [5])}, 1, "even", index=2, images=once)
    assert db.query("SELECT never_retrieved, skewness FROM hubness WHERE run_id = %(r)s", {"r": second}) == [(0, None)]


@pytest.fixture
def runs(db: medcbir.Database) -> dict[str, RandomRun]:
    made = {"first": random_run(0, 12), "second": random_run(1, 8)}
    for name, run in made.items():
        run.store(db, name)
    return made


def test_silhouettes_are_averaged_over_queries_and_classes(db: medcbir.Database, runs: dict[str, RandomRun]) -> None:
    found = db.silhouettes("first")
    of_queries = pd.DataFrame(
        db.query("SELECT label_id, silhouette FROM silhouette_query WHERE run_id = 1"), columns=["label", "value"]
    ).astype({"value": float})
    of_classes = of_queries.groupby("label").value
    micro, macro, *classes = found
    assert [(each.average, each.group) for each in (micro, macro)] == [("micro", None), ("macro", None)]
    assert (micro.value, micro.std) == pytest.approx((of_queries.value.mean(), of_queries.value.std()))
    assert (macro.value, macro.std) == pytest.approx((of_classes.mean().mean(), of_classes.std().mean()))
    assert [each.group for each in classes] == [f"c{label}" for label in of_classes.groups]
    for each, (_, values) in zip(classes, of_classes, strict=True):
        assert each.average == "class"
        assert (each.value, each.std) == pytest.approx((values.mean(), values.std()), nan_ok=True) or each.std is None
        assert (each.queries, each.defined) == (len(values), values.count())
    for name in ("queries", "defined", "own_only", "none_own"):
        total = sum(getattr(each, name) for each in classes)
        assert getattr(micro, name) == getattr(macro, name) == total
    labelled = sum(label > 0 for label, _, _ in runs["first"].lists.values())
    assert micro.queries == labelled > micro.defined
    assert micro.own_only > 0
    assert micro.none_own > 0


@pytest.mark.usefixtures("runs")
def test_hubness_hubs_and_agreement_are_what_the_views_say(db: medcbir.Database) -> None:
    assert [each.k for each in db.hubness("first")] == [1, 3, 5, 10]
    (at_3,) = db.hubness("first", k=[3])
    wanted = db.query("SELECT * FROM hubness WHERE run_id = 1 AND k = 3")
    assert [(1, *astuple(at_3))] == wanted
    hubs = db.hubs("first", k=3, limit=4)
    often = db.query(
        "SELECT occurrences, image_id FROM k_occurrence WHERE run_id = 1 AND k = 3 ORDER BY 1 DESC, 2 LIMIT 4"
    )
    assert [(each.occurrences, each.image_id) for each in hubs] == often
    assert {each.uri for each in hubs} == {str(image_id) for _, image_id in often}
    assert (len(db.hubs()), db.hubs()[0].k, db.hubs("first")[0].k, db.hubs("first", k=12)[0].k) == (10, 5, 10, 12)
    found = db.agreement(["first", "second"], n=[2, 8])
    assert [(each.first, each.second, each.n) for each in found] == [("first", "second", 2), ("first", "second", 8)]
    rows = db.query(
        "SELECT queries, overlap, jaccard, average_overlap FROM agreement WHERE first_run_id = 1 AND "
        "second_run_id = 2 AND n IN (2, 8) ORDER BY n"
    )
    assert [astuple(each)[3:] for each in found] == rows
    assert len(db.agreement(["first", "second"])) == 3  # N of 1, 3, 5
    for library in ("pandas", "polars"):
        frame = medcbir.frame(found, library)
        assert list(frame.columns) == ["first", "second", "n", "queries", "overlap", "jaccard", "average_overlap"]


@pytest.mark.usefixtures("runs")
def test_what_cannot_be_said_of_neighbours_is_told(db: medcbir.Database) -> None:
    store(db, {200: (0, 0, [])}, 2, "empty")
    with pytest.raises(RunError, match="no query with exactly one label"):
        db.silhouettes("empty")
    with pytest.raises(RunError, match="has no hits"):
        db.hubness("empty")
    assert db.hubs("empty") == []
    with pytest.raises(RunError, match="first and empty have no query in common"):
        db.agreement(["first", "empty"])
    for runs in (["first"], ["first", "first"], []):
        with pytest.raises(InputError, match="two or more different runs"):
            db.agreement(runs)
    with pytest.raises(InputError, match="keeps 12 hits"):
        db.hubs("first", k=13)
    with pytest.raises(InputError, match="must be 1 or more, not 0"):
        db.hubs("first", limit=0)
