"""Silhouettes, hubs and agreement of runs, against scikit-learn, scipy, numpy and examples worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from scipy.stats import skew
from sklearn.metrics import jaccard_score, silhouette_samples
from stored_runs import Lists, store

import medcbir

LABELS = 7


def random_run(seed: int, n: int, queries: int = 90) -> tuple[Lists, dict[int, list[int]], dict[int, list[float]]]:
    """Unlabelled queries and hits, missing hits, queries without hits, classes of one, equal distances."""
    rng = default_rng(seed)
    lists: Lists = {}
    images, distances = {}, {}
    for q in range(1, queries + 1):
        kept = int(rng.choice([n, n, rng.integers(0, n + 1)]))
        label = int(rng.integers(0, LABELS)) if q > 1 else LABELS
        hits = np.where(rng.random(kept) < 0.4, label, rng.integers(0, LABELS, kept))
        lists[q] = (label, n, hits.tolist())
        images[q] = (rng.permutation(30 + q % 5)[:kept] + 1).tolist()
        distances[q] = np.sort(rng.integers(0, 6, kept) / 4).tolist()
    return lists, images, distances


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


def test_hubs_are_those_of_numpy_and_scipy(db: medcbir.Database) -> None:
    made = {}
    for seed, n, index in ((0, 8, 40), (1, 3, 200)):
        lists, images, distances = random_run(seed, n)
        made[store(db, lists, n, f"r{n}", index=index, images=images, distances=distances)] = (lists, images, n, index)
    for run_id, (lists, images, n, index) in made.items():
        for k in range(1, n + 1):
            counts, bad = np.zeros(index, np.int64), np.zeros(index, np.int64)
            for q, (label, _, hits) in lists.items():
                for image, hit in zip(images[q][:k], hits[:k], strict=True):
                    counts[image - 1] += 1
                    bad[image - 1] += hit > 0 and label > 0 and hit != label
            at = {"run": run_id, "k": k}
            rows = db.query(
                "SELECT image_id, occurrences, bad_occurrences FROM k_occurrence WHERE run_id = %(run)s AND k = %(k)s",
                at,
            )
            present = np.flatnonzero(counts)
            assert sorted(rows) == list(zip(present + 1, counts[present], bad[present], strict=True))
            (row,) = db.query(
                "SELECT index_images, never_retrieved, most_occurrences, mean_occurrences, skewness, bad_share "
                "FROM hubness WHERE run_id = %(run)s AND k = %(k)s",
                at,
            )
            assert row[:3] == (index, index - len(present), counts.max())
            wanted = (counts.mean(), skew(counts), bad.sum() / counts.sum())
            assert row[3:] == pytest.approx(wanted, abs=1e-12)


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


def test_agreement_is_that_of_sets_and_scikit_learn(db: medcbir.Database) -> None:
    made = {}
    for seed, n in ((0, 12), (1, 8), (2, 12)):
        lists, images, distances = random_run(seed, n, 80 + seed)
        made[store(db, lists, n, f"r{seed}", images=images, distances=distances)] = (images, n)
    for first, (of_first, n_first) in made.items():
        for second, (of_second, n_second) in made.items():
            if first == second:
                continue
            rows = db.query(
                "SELECT query_id, n, shared, overlap, jaccard, average_overlap FROM agreement_query "
                "WHERE first_run_id = %(a)s AND second_run_id = %(b)s",
                {"a": first, "b": second},
            )
            found = {row[:2]: row[2:] for row in rows}
            common, depth = of_first.keys() & of_second.keys(), min(n_first, n_second)
            assert found.keys() == {(q, n) for q in common for n in range(1, depth + 1)}
            overlaps = {}
            for q in sorted(common):
                for n in range(1, depth + 1):
                    a, b = set(of_first[q][:n]), set(of_second[q][:n])
                    overlaps[q, n] = len(a & b) / n
                    average = np.mean([overlaps[q, d] for d in range(1, n + 1)])
                    wanted = (len(a & b), overlaps[q, n], found[q, n][2], average)
                    assert found[q, n] == pytest.approx(wanted, abs=1e-12)
                    if not a | b:
                        assert found[q, n][2] is None
                    elif n in (1, depth):
                        inside = [[image in each for image in range(1, 40)] for each in (a, b)]
                        assert found[q, n][2] == pytest.approx(jaccard_score(*inside))
            for n, queries, overlap, jaccard in db.query(
                "SELECT n, queries, overlap, jaccard FROM agreement WHERE first_run_id = %(a)s "
                "AND second_run_id = %(b)s",
                {"a": first, "b": second},
            ):
                defined = [found[q, n][2] for q in common if found[q, n][2] is not None]
                mean = np.mean([overlaps[q, n] for q in common])
                assert (queries, overlap, jaccard) == (len(common), *map(pytest.approx, (mean, np.mean(defined))))


def test_agreement_by_hand(db: medcbir.Database) -> None:
    """1 2 3 and 2 1 4 share 0, 2 and 2 images: average overlap at 3 is (0/1 + 2/2 + 2/3) / 3 = 5/9."""
    for name, images in (("a", [1, 2, 3]), ("b", [2, 1, 4])):
        store(db, {1: (1, 1, [1, 1, 1])}, 3, name, images={1: images})
    rows = db.query("SELECT n, shared, overlap, jaccard, average_overlap FROM agreement_query WHERE first_run_id = 1")
    assert rows == [(1, 0, 0, 0, 0), (2, 2, 1, 1, 0.5), (3, 2, 2 / 3, 2 / 4, pytest.approx(5 / 9))]
