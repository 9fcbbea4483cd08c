"""Silhouettes of a whole index against scikit-learn; what silhouettes and hubs are at their edges, by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from sklearn.metrics import silhouette_samples
from stored_runs import Lists, store

import medcbir


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
