"""Votes, F1 and AUPRC in SQL against scikit-learn, on random data with ties, absent and single classes, no hits."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numpy.random import default_rng
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support
from sklearn.neighbors import KNeighborsClassifier

import medcbir
from medcbir.errors import InputError, RunError
from medcbir.store.classifications import Scores, add_classification, copy_scores
from medcbir.store.connection import Connection, open_database
from medcbir.types import Classification, Filter

Metrics = dict[tuple[str, str, str | None], float | None]


def fill(
    db: medcbir.Database,
    folder: Path,
    split: npt.NDArray[np.str_],
    labels: list[str],
    vectors: npt.NDArray[np.float64],
    encoder: str = "e",
) -> None:
    """Catalogue an image per row, `labels` being findings joined by `|`, and its vector."""
    lines = [f"{number:05},{split[number]},CT,chest,{label}" for number, label in enumerate(labels)]
    (folder / "m.csv").write_text("uri,split,modality,region,finding\n" + "\n".join(lines) + "\n")
    db.ingest(folder / "m.csv", metadata_only=True)
    uris = np.array([f"{number:05}" for number in range(len(labels))])
    np.savez(folder / "v.npz", uri=uris, vector=vectors.astype(np.float32))
    db.import_vectors(folder / "v.npz", encoder=encoder)


def clusters(
    seed: int, size: int, classes: int, dim: int, noise: float
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Splits, classes and noisy unit vectors around one direction per class."""
    rng = default_rng(seed)
    y = rng.integers(0, classes, size)
    vectors = rng.normal(size=(classes, dim))[y] + noise * rng.normal(size=(size, dim))
    split = rng.choice(["train", "val", "test"], size, p=[0.6, 0.2, 0.2])
    return split, y, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_key(db: medcbir.Database, made: Classification | int) -> Metrics:
    found: Metrics = {}
    for by_class in (False, True):
        for metric in db.evaluate_classes(made, by_class=by_class):
            group = None if metric.group is None else metric.group.rpartition("/")[2]
            found[metric.metric, metric.average, group] = metric.value
    return found


def predictions(db: medcbir.Database, made: Classification | int) -> dict[int, tuple[Any, ...]]:
    """Row number of the image: true and predicted finding, scores by finding."""
    rows = db.query(
        "SELECT i.uri, t.finding, g.finding, ARRAY(SELECT l.finding FROM unnest(coalesce(p.label_ids, c.label_ids)) "
        "WITH ORDINALITY AS u (label_id, place) JOIN label AS l USING (label_id) ORDER BY u.place), p.scores "
        "FROM prediction AS p JOIN classification AS c USING (classification_id) JOIN image AS i USING (image_id) "
        "LEFT JOIN label AS t ON t.label_id = p.label_id LEFT JOIN label AS g ON g.label_id = p.predicted_label_id "
        "WHERE c.classification_id = %(id)s ORDER BY i.uri",
        {"id": made if isinstance(made, int) else made.classification_id},
    )
    return {
        int(uri): (truth, predicted, dict(zip(names, scores, strict=True)))
        for uri, truth, predicted, names, scores in rows
    }


def matrix(found: dict[int, tuple[Any, ...]], names: list[str]) -> npt.NDArray[np.float64]:
    return np.array([[scores.get(name, 0.0) for name in names] for _, _, scores in found.values()])


@pytest.mark.parametrize("weights", ["uniform", "similarity"])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_votes_equal_those_of_scikit_learn(db: medcbir.Database, tmp_path: Path, k: int, weights: Any) -> None:
    split, y, vectors = clusters(k, 400, 6, 8, noise=0.9)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    made = db.classify_knn(encoder="e", k=k, weights=weights)
    assert (made.method, made.k, made.classes) == ("knn", k, 6)
    found = predictions(db, made)
    train, test = split == "train", np.array(list(found))
    assert test.tolist() == np.flatnonzero(split == "test").tolist()
    theirs = KNeighborsClassifier(
        k,
        metric="cosine",
        algorithm="brute",
        weights=weights if weights == "uniform" else lambda d: np.maximum(1 - d, 0),
    ).fit(vectors[train], y[train])
    expected = theirs.predict_proba(vectors[test])
    names = [f"f{each}" for each in theirs.classes_]
    np.testing.assert_allclose(matrix(found, names), expected, atol=2e-6)
    neighbours = y[train][theirs.kneighbors(vectors[test])[1]]
    for row, (truth, predicted, _) in enumerate(found.values()):
        assert truth == f"f{y[test[row]]}"
        tied = np.flatnonzero(expected[row] > expected[row].max() - 1e-6)  # the nearest of the tied
        wanted = next(each for each in neighbours[row] if theirs.classes_.tolist().index(each) in tied)
        assert predicted == f"f{wanted}"


def test_k_is_the_best_itself_on_validation_and_runs_are_used_again(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(5, 500, 5, 6, noise=1.2)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    made = db.classify_knn(encoder="e", max_k=25)
    train, val = split == "train", split == "val"
    auprc = []
    for k in range(1, 26):
        theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(vectors[train], y[train])
        scores = theirs.predict_proba(vectors[val]).astype(np.float32)
        auprc.append(average_precision_score(y[val, None] == theirs.classes_, scores, average="micro"))
    np.testing.assert_allclose(made.certificate["auprc_by_k"], auprc, atol=1e-12)
    assert made.k == int(np.argmax(auprc)) + 1
    assert made.certificate["validation_run"] == "e-1"
    assert made.run == "e-2"
    again = db.classify_knn(encoder="e", max_k=25)
    assert (again.k, again.run, again.certificate) == (made.k, made.run, made.certificate)
    assert db.query("SELECT count(*) FROM run") == [(2,)]
    wider = db.classify_knn(encoder="e", k=made.k, exclude_same_patient=False)
    assert wider.run == "e-3"
    db.query("UPDATE image_label SET label_id = label_id %% 5 + 1 WHERE image_id = %(image)s RETURNING 1", {"image": 1})
    assert db.classify_knn(encoder="e", k=made.k).run == "e-4"  # a label has changed


def test_the_vote_does_not_look_at_the_label(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(6, 300, 4, 6, noise=1.0)
    hidden = np.where(split == "test", (y + 1) % 4, y)
    fill(db, tmp_path, split, [f"f{each}" for each in hidden], vectors)
    made = db.classify_knn(encoder="e", k=5)
    changed = predictions(db, made)
    db.query("UPDATE run_query SET label_id = NULL, relevant = 0 WHERE run_id = 1 RETURNING 1")
    rows = db.query("SELECT predicted_label_id, scores FROM knn_vote(1, 5) ORDER BY query_id")
    stored = db.query("SELECT predicted_label_id, scores FROM prediction ORDER BY image_id")
    assert rows == stored
    assert len(changed) == len(rows)


def test_ties_unlabelled_neighbours_and_queries_without_hits(db: medcbir.Database, tmp_path: Path) -> None:
    """Worked by hand: neighbours a, b, none, b, a at growing angles; a second query whose patient owns the index."""
    angles = np.deg2rad([10, 20, 30, 40, 50, 0, 0])
    (tmp_path / "m.csv").write_text(
        "uri,patient,split,modality,region,finding\n"
        "0,p,train,CT,chest,a\n1,p,train,CT,chest,b\n2,p,train,CT,chest,\n3,p,train,CT,chest,b\n4,p,train,CT,chest,a\n"
        "5,q,test,CT,chest,b\n6,p,test,CT,chest,a\n"
    )
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    np.savez(tmp_path / "v.npz", uri=np.arange(7).astype(str), vector=vectors)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    expected = {
        (1, "uniform"): ("a", {"a": 1.0}),
        (2, "uniform"): ("a", {"a": 0.5, "b": 0.5}),
        (3, "uniform"): ("a", {"a": 0.5, "b": 0.5}),
        (4, "uniform"): ("b", {"a": 1 / 3, "b": 2 / 3}),
        (9, "uniform"): ("a", {"a": 0.5, "b": 0.5}),
        (9, "similarity"): ("b", None),  # cos 20 + cos 40 > cos 10 + cos 50
    }
    for (k, weights), (predicted, scores) in expected.items():
        made = db.classify_knn(encoder="e", k=k, weights=weights)  # type: ignore[arg-type]
        found = predictions(db, made)
        assert found[5][:2] == ("b", predicted)
        assert scores is None or found[5][2] == pytest.approx(scores)
        assert found[6] == ("a", None, {})
        got = by_key(db, made)
        right = int(predicted == "b")
        assert got["f1", "micro", None] == pytest.approx(2 * right / 3)  # one prediction, two queries
        assert got["precision", "class", "a"] == 0.0
    assert by_key(db, made)["f1", "macro", None] == pytest.approx(0.5)
    # Micro AUPRC of the last: cases (b .51 right), (a .49 wrong), and two of score 0, one of them right.
    assert by_key(db, made)["auprc", "micro", None] == pytest.approx((1 + 2 / 4) / 2)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with open_database(database_url, install="never") as opened:
        yield opened


def store(
    connection: Connection, truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], scores: npt.NDArray[Any]
) -> int:
    """A classification of images 1, 2, ... into classes 1, 2, ...; the labels of `truth` may go beyond, 0 is none."""
    images, classes = scores.shape
    if connection.execute("SELECT count(*) FROM dataset").fetchone() == (0,):
        connection.execute("INSERT INTO dataset (name) VALUES ('d')")
        connection.execute(
            "INSERT INTO label (name, key, modality, region, finding, kind) "
            "SELECT 'CT/x/f' || g, 'f' || g, 'CT', 'x', 'f' || g, 'pathology' FROM generate_series(1, 30) AS g"
        )
        connection.execute("INSERT INTO image (dataset_id, uri) SELECT 1, g::text FROM generate_series(1, 2000) AS g")
        connection.execute("SELECT add_encoder('e', 2, '{}', '\\x01')")
    made = add_classification(connection, "linear", 1, None, list(range(1, classes + 1)), images, {}, {}, 0.0)
    chunk = Scores(np.arange(1, images + 1), truth, predicted, scores.astype(np.float32))
    copy_scores(connection, made, [chunk])
    return made


@pytest.mark.parametrize("seed", range(6))
def test_f1_and_auprc_equal_those_of_scikit_learn_on_traps(
    db: medcbir.Database, connection: Connection, seed: int
) -> None:
    """Class 7 has no image, 8 and 9 have images and no scores, 6 one image; scores are tied, all of a class's at 0."""
    rng = default_rng(seed)
    images = int(rng.integers(20, 800))
    truth = rng.integers(1, 6, images)
    truth[rng.permutation(images)[:9]] = [6, 8, 8, 8, 9, 9, 0, 0, 0]
    scores = rng.random((images, 7)).astype(np.float32)
    if seed % 2:
        scores = np.round(scores * 4) / 4  # ties, many of them at 0
    scores[:, 2] = 0
    predicted = np.where(rng.random(images) < 0.5, np.clip(truth, 1, 7), rng.integers(1, 6, images))
    got = by_key(db, store(connection, truth, predicted, scores))

    labelled = truth > 0
    y, guess = truth[labelled], predicted[labelled]
    full = np.hstack([scores, np.zeros((images, 2), np.float32)])[labelled]
    positive = y[:, None] == np.arange(1, 10)
    assert got["f1", "micro", None] == pytest.approx(f1_score(y, guess, average="micro"), abs=1e-12)
    assert got["f1", "macro", None] == pytest.approx(f1_score(y, guess, average="macro"), abs=1e-12)
    assert got["auprc", "micro", None] == pytest.approx(
        average_precision_score(positive, full, average="micro"), abs=1e-12
    )
    some = positive.any(axis=0)
    assert got["auprc", "macro", None] == pytest.approx(
        average_precision_score(positive[:, some], full[:, some], average="macro"), abs=1e-12
    )
    names = sorted({*y.tolist(), *guess.tolist()})
    of_class = precision_recall_fscore_support(y, guess, labels=names, zero_division=0)
    for place, name in enumerate(names):
        for metric, values in zip(("precision", "recall", "f1"), of_class, strict=False):
            assert got[metric, "class", f"f{name}"] == pytest.approx(values[place], abs=1e-12)
    for name in np.flatnonzero(some) + 1:
        expected = average_precision_score(positive[:, name - 1], full[:, name - 1])
        assert got["auprc", "class", f"f{name}"] == pytest.approx(expected, abs=1e-12)
    assert got["auprc", "class", "f7"] is None
    made = connection.execute("SELECT max(classification_id) FROM classification").fetchone()
    macro = next(
        metric for metric in db.evaluate_classes(made[0]) if (metric.metric, metric.average) == ("auprc", "macro")
    )
    assert (macro.classes, macro.undefined, macro.queries) == (9, 1, len(y))
    confusion = connection.execute(
        "SELECT label_id, predicted_label_id, images FROM classification_confusion"
    ).fetchall()
    pairs, counts = np.unique(np.stack([y, guess]), axis=1, return_counts=True)
    assert sorted(confusion) == sorted(zip(*pairs.tolist(), counts.tolist(), strict=True))


def test_one_class_alone_is_always_right(db: medcbir.Database, connection: Connection) -> None:
    got = by_key(db, store(connection, np.ones(5, np.int64), np.ones(5, np.int64), np.ones((5, 1))))
    assert set(got.values()) == {1.0}


def test_classifications_do_not_mix_and_drop_at_once(db: medcbir.Database, connection: Connection) -> None:
    rng = default_rng(1)
    truth = rng.integers(1, 4, 60)
    first = store(connection, truth, truth, rng.random((60, 3)))
    before = by_key(db, first)
    second = store(connection, truth, np.roll(truth, 1), rng.random((60, 5)))
    assert by_key(db, first) == before != by_key(db, second)
    connection.execute("SELECT drop_classification(%s)", (second,))
    assert connection.execute("SELECT count(*) FROM prediction").fetchone() == (60,)
    with pytest.raises(RunError, match=f"no classification {second}"):
        db.evaluate_classes(second)


def test_dropping_a_run_keeps_the_predictions_it_made(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(7, 100, 3, 4, noise=0.5)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    made = db.classify_knn(encoder="e", k=3)
    before = by_key(db, made)
    db.query("SELECT drop_run(1)")
    assert by_key(db, made) == before


def test_the_linear_probe_reaches_logistic_regression_on_a_separable_set(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(8, 3000, 8, 32, noise=0.7)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    made = db.classify_linear(encoder="e", device="cpu", seed=3)
    train, test = split == "train", split == "test"
    theirs = LogisticRegression(max_iter=1000).fit(vectors[train], y[train]).predict(vectors[test])
    got = by_key(db, made)
    for average in ("micro", "macro"):
        expected = f1_score(y[test], theirs, average=average)
        assert expected > 0.95
        assert got["f1", average, None] == pytest.approx(expected, abs=0.01)
    found = predictions(db, made)
    names = [f"f{each}" for each in range(8)]
    scores = matrix(found, names)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert [predicted for _, predicted, _ in found.values()] == [names[best] for best in scores.argmax(axis=1)]
    assert got["auprc", "micro", None] == pytest.approx(
        average_precision_score(y[test, None] == np.arange(8), scores, average="micro"), abs=1e-12
    )
    assert predictions(db, db.classify_linear(encoder="e", device="cpu", seed=3)) == found  # bit for bit
    assert predictions(db, db.classify_linear(encoder="e", device="cpu", seed=4, epochs=2)) != found


def test_the_linear_probe_does_not_depend_on_the_order_in_which_vectors_were_stored(
    db: medcbir.Database, tmp_path: Path
) -> None:
    split, y, vectors = clusters(8, 900, 5, 16, noise=0.9)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    uris = np.array([f"{number:05}" for number in range(len(y))])
    np.savez(tmp_path / "reversed.npz", uri=uris[::-1], vector=vectors[::-1].astype(np.float32))
    db.import_vectors(tmp_path / "reversed.npz", encoder="reversed")
    one, other = (db.classify_linear(encoder=name, device="cpu", epochs=3) for name in ("e", "reversed"))
    assert predictions(db, one) == predictions(db, other)  # bit for bit


def test_the_linear_probe_is_the_same_in_any_process_and_with_labels_numbered_otherwise(
    db: medcbir.Database,
    clone: Callable[..., str],
    run_medcbir: Callable[..., CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    """Bit for bit: in a fresh process, and after something that left other settings of torch behind."""
    split, y, vectors = clusters(8, 900, 5, 16, noise=0.9)
    findings = [f"f{each}" for each in y]
    fill(db, tmp_path, split, findings, vectors)
    options = ("--epochs", 3, "--device", "cpu", "--encoder", "e", "--format", "json")
    done = run_medcbir("classify", "linear", *options, "--database-url", db.conninfo, OMP_NUM_THREADS=2)
    assert done.returncode == 0, done.stderr
    expected = predictions(db, json.loads(done.stdout)["classification_id"])

    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state()
    torch.set_num_threads(3)
    torch.set_float32_matmul_precision("medium")
    try:
        torch.rand(7)
        found = predictions(db, db.classify_linear(encoder="e", device="cpu", epochs=3))
        left = torch.get_num_threads(), torch.get_float32_matmul_precision()
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.set_rng_state(before[2])
    assert found == expected
    assert left == (3, "medium")

    with medcbir.connect(clone(), data_dir=tmp_path / "other") as other:
        for line in (4, 3, 2):  # one by one, so that labels are numbered in this order
            (tmp_path / "one.csv").write_text(
                f"uri,split,modality,region,finding\nbefore{line},train,CT,chest,f{line}\n"
            )
            other.ingest(tmp_path / "one.csv", metadata_only=True)
        fill(other, tmp_path, split, findings, vectors)
        assert other.query("SELECT finding FROM label ORDER BY label_id")[0] == ("f4",)
        made = other.classify_linear(encoder="e", device="cpu", epochs=3)
        assert predictions(other, made) == expected


def test_a_name_is_used_once(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(3, 120, 3, 8, noise=0.5)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    linear = db.classify_linear(encoder="e", device="cpu", epochs=1, name="mine")
    voted = db.classify_knn(encoder="e", k=3, name="others")
    unnamed = db.classify_knn(encoder="e", k=3)
    names = "SELECT classification_id, name FROM classification ORDER BY 1"
    numbers = [each.classification_id for each in (linear, voted, unnamed)]
    assert db.query(names) == list(zip(numbers, ["mine", "others", None], strict=True))
    with pytest.raises(InputError, match="a classification named 'mine' exists: choose another name"):
        db.classify_knn(encoder="e", k=3, name="mine")
    with pytest.raises(InputError, match="a classification named 'others' exists"):
        db.classify_linear(encoder="e", device="cpu", name="others")
    assert len(db.query(names)) == 3


def test_early_stopping_keeps_the_best_epoch(db: medcbir.Database, tmp_path: Path) -> None:
    """Validation labels that have nothing to do with the vectors: the loss soon rises."""
    split, y, vectors = clusters(9, 600, 4, 8, noise=0.4)
    y = np.where(split == "val", default_rng(0).permutation(y), y)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    made = db.classify_linear(encoder="e", device="cpu", lr=0.05, patience=3, batch_size=16)
    losses = made.certificate["validation_loss"]
    assert len(losses) == made.certificate["epochs_run"] == made.certificate["best_epoch"] + 3 < 100
    assert losses.index(min(losses)) + 1 == made.certificate["best_epoch"]
    whole = db.classify_linear(
        encoder="e", device="cpu", lr=0.05, patience=0, batch_size=16, epochs=made.certificate["best_epoch"]
    )
    assert predictions(db, whole) == predictions(db, made)


def test_classes_without_training_images_are_missed_and_counted(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(10, 600, 4, 8, noise=0.3)
    names = [f"f{each}" for each in y]
    strangers = (split != "train") & (default_rng(0).random(600) < 0.2)
    names = [("stranger" if strange else name) for strange, name in zip(strangers, names, strict=True)]
    names[int(np.flatnonzero(split == "train")[0])] = "f0|f1"  # several labels take no part
    names[int(np.flatnonzero(split == "test")[0])] = ""  # no label: predicted, not measured
    fill(db, tmp_path, split, names, vectors)
    made = db.classify_linear(encoder="e", device="cpu", epochs=5, balanced=True)
    assert made.classes == 4
    assert made.queries == made.labelled_queries + 1 == (split == "test").sum()
    assert made.certificate["val_images_of_unseen_classes"] == (strangers & (split == "val")).sum()
    assert made.certificate["train_images"] == (split == "train").sum() - 1
    got = by_key(db, made)
    assert (got["recall", "class", "stranger"], got["f1", "class", "stranger"]) == (0.0, 0.0)
    share = sum(truth == "stranger" for truth, _, _ in predictions(db, made).values()) / made.labelled_queries
    assert got["auprc", "class", "stranger"] == pytest.approx(share)


def test_balanced_weights_favour_the_small_class(db: medcbir.Database, tmp_path: Path) -> None:
    rng = default_rng(11)
    y = (rng.random(1500) < 0.06).astype(np.int64)
    vectors = rng.normal(size=(1500, 4)) + np.where(y[:, None], 0.9, 0.0)
    split = rng.choice(["train", "val", "test"], 1500)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    recall = [
        by_key(db, db.classify_linear(encoder="e", device="cpu", balanced=balanced, lr=0.05))["recall", "class", "f1"]
        for balanced in (False, True)
    ]
    assert recall[1] > recall[0] + 0.2  # type: ignore[operator]


def test_what_cannot_be_classified_is_told(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(12, 60, 2, 4, noise=0.3)
    split = np.where(split == "val", "train", split)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)
    with pytest.raises(RunError, match="val"):
        db.classify_knn(encoder="e")
    with pytest.raises(RunError, match="--patience 0"):
        db.classify_linear(encoder="e")
    for wrong in ({"k": 0}, {"k": 3, "weights": "votes"}):
        with pytest.raises(InputError):
            db.classify_knn(encoder="e", **wrong)  # type: ignore[arg-type]
    for wrong in ({"epochs": 0}, {"patience": -1}, {"lr": 0.0}, {"lr": math.nan}, {"batch_size": 0}):
        with pytest.raises(InputError):
            db.classify_linear(encoder="e", **wrong)  # type: ignore[arg-type]
    assert db.query("SELECT count(*) FROM classification") == [(0,)]


def test_a_training_that_is_interrupted_leaves_nothing(db: medcbir.Database, tmp_path: Path) -> None:
    split, y, vectors = clusters(13, 300, 3, 4, noise=0.3)
    fill(db, tmp_path, split, [f"f{each}" for each in y], vectors)

    class Interrupting:
        """Ctrl-C at the so-manieth report of progress."""

        def __init__(self, left: int) -> None:
            self.left = left

        def begin(self, stage: str, unit: str, total: int | None) -> None:
            assert total

        def advance(self, items: int) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        def note(self, text: str) -> None:
            pass

    for at in (3, 11):  # during training; while predictions are stored (ten epochs of one batch each)
        with pytest.raises(KeyboardInterrupt):
            db.classify_linear(encoder="e", device="cpu", epochs=10, progress=Interrupting(at))
        assert db.query("SELECT count(*) FROM classification") == [(0,)]
        assert db.query("SELECT to_regclass('prediction_1'), to_regclass('prediction_2')") == [(None, None)]
    assert db.classify_linear(encoder="e", device="cpu", epochs=10).labelled_queries == (split == "test").sum()


def test_each_example_is_drawn_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from medcbir.evaluation import linear

    monkeypatch.setattr(linear, "_BLOCK", 5)
    monkeypatch.setattr(linear, "_BLOCKS", 3)
    everything = np.arange(200, dtype=np.float32).reshape(100, 2)
    rows = np.sort(default_rng(0).permutation(100)[:73])
    examples = linear.Examples(everything, rows, rows, rows * 2)
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(examples.shuffled(8, generator))
        vectors, classes = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
        np.testing.assert_array_equal(vectors, everything[classes // 2])
        np.testing.assert_array_equal(np.sort(classes), rows * 2)
        assert all(len(part) <= 8 for part, _ in batches)
        assert any(a > b for a, b in pairwise(classes))
        orders.append(classes.tolist())
    assert orders[0] != orders[1]


def test_images_deleted_during_training_are_told(connection: Connection) -> None:
    made = store(connection, np.ones(3, np.int64), np.ones(3, np.int64), np.ones((3, 1)))
    connection.execute("DELETE FROM image WHERE image_id = 2")
    assert connection.execute("SELECT count(*) FROM prediction").fetchone() == (2,)
    gone = Scores(np.array([2]), np.array([1]), np.array([1]), np.ones((1, 1), np.float32))
    with pytest.raises(RunError, match="deleted while"):
        copy_scores(connection, made, [gone])


def test_a_run_and_classifications_of_one_dataset_are_blind_to_the_others(
    db: medcbir.Database, clone: Callable[..., str], tmp_path: Path
) -> None:
    split, y, vectors = clusters(3, 240, 4, 8, 0.6)
    labels = [f"f{each}" for each in y]
    found = []
    for url in (db.conninfo, clone()):
        with medcbir.connect(url, data_dir=tmp_path / "data") as opened:
            fill(opened, tmp_path, split, labels, vectors)
            if url != db.conninfo:  # the same vectors once more, each with another class
                (tmp_path / "m.csv").rename(tmp_path / "other.csv")
                rows = (tmp_path / "other.csv").read_text().replace(",f", ",g").splitlines()
                (tmp_path / "other.csv").write_text("\n".join([rows[0], *(f"x{row}" for row in rows[1:])]) + "\n")
                opened.ingest(tmp_path / "other.csv", metadata_only=True)
                uris = np.array([f"x{number:05}" for number in range(len(labels))])
                np.savez(tmp_path / "w.npz", uri=uris, vector=vectors.astype(np.float32))
                opened.import_vectors(tmp_path / "w.npz", encoder="e")
            knn = opened.classify_knn(encoder="e", max_k=7, datasets=["m"], name="knn")
            linear = opened.classify_linear(encoder="e", epochs=3, datasets=["m"])
            assert knn.run == "knn-test"
            again = opened.classify_knn(encoder="e", max_k=7, datasets=["m"])
            assert again.run == "knn-test"  # the runs of the first fit
            ablation = opened.ablate_index_size(
                encoder="e",
                sizes=[5],
                queries=Filter(datasets=["m"], split="test"),
                index=Filter(datasets=["m"], split="train"),
            )
            values = [by_key(opened, made) for made in (knn, linear)]
            found.append((knn.k, knn.queries, linear.classes, values, ablation.classes, ablation.points))
    assert found[0] == found[1]


def test_a_search_in_several_datasets_is_refused(db: medcbir.Database) -> None:
    with pytest.raises(InputError, match="one dataset or all"):
        db.search(image_id=1, where=Filter(datasets=["a", "b"]))
