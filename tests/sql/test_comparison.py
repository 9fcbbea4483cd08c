"""Comparing runs, leaks and the ablation of index size on real databases, against brute force and second runs."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.random import default_rng
from stored_runs import store

import medcbir
from medcbir.errors import InputError, RunError
from medcbir.evaluation.compare import leakage
from medcbir.types import Filter

SIZE, CLASSES = 420, 4


@pytest.fixture
def vectors(db: medcbir.Database, tmp_path: Path) -> npt.NDArray[np.float32]:
    """Images of four classes and 60 patients, every third a query, with vectors under encoders `good` and `poor`.

    A patient's images lie close together, some are equal, and class 4 is small. Image ids are 1 to `SIZE` in order.
    """
    rng = default_rng(0)
    label = np.where(np.arange(SIZE) % 31 == 0, 4, rng.integers(1, CLASSES, SIZE))
    patient = rng.integers(0, 60, SIZE)
    split = np.where(np.arange(SIZE) % 3 == 0, "test", "train")
    rows = [
        f"{i:03},{f'p{patient[i]}' if patient[i] else ''},{split[i]},CT,chest,finding {label[i]}" for i in range(SIZE)
    ]
    (tmp_path / "m.csv").write_text("uri,patient,split,modality,region,finding\n" + "\n".join(rows) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    made = rng.normal(size=(CLASSES + 1, 12))[label] + 1.2 * rng.normal(size=(60, 12))[patient]
    made += 0.6 * rng.normal(size=(SIZE, 12))
    made[200:230] = made[100:130]
    poor = made + 3 * rng.normal(size=made.shape)
    for name, each in (("good", made), ("poor", poor)):
        np.savez(tmp_path / "v.npz", uri=np.array([f"{i:03}" for i in range(SIZE)]), vector=each.astype(np.float32))
        db.import_vectors(tmp_path / "v.npz", encoder=name)
    assert db.query("SELECT min(image_id), max(image_id) FROM image") == [(1, SIZE)]
    return made.astype(np.float32)


@pytest.mark.usefixtures("vectors")
def test_a_difference_is_that_of_what_evaluate_says_of_each(db: medcbir.Database) -> None:
    good, poor = db.retrieve(encoder="good", name="good"), db.retrieve(encoder="poor", name="poor")
    again = db.retrieve(encoder="good", name="again")
    found = db.compare(["good", poor, again], n=[1, 10])
    assert (found.queries, found.warnings, len(found.differences)) == (140, (), 3 * 2 * 4)
    values = {run: {(m.n, m.average, m.definition): m.value for m in db.evaluate(run)} for run in ("good", "poor")}
    by_class = db.compare(["good", poor], n=[1, 10], metric="all", by="class")
    of_classes = {
        (run, m.metric, m.n, m.average, m.definition, m.group): m
        for run in ("good", "poor")
        for m in db.evaluate(run, n=[1, 10], metric="all", by="class")
    }
    assert len(by_class.differences) * 2 == len(of_classes)
    for each in by_class.differences:
        key = (each.metric, each.n, each.average, each.definition, each.group)
        assert each.first_value == pytest.approx(of_classes["good", *key].value)
        assert each.second_value == pytest.approx(of_classes["poor", *key].value)
        assert each.queries <= of_classes["good", *key].queries
    for each in found.differences:
        key = (each.n, each.average, each.definition)
        if (each.first, each.second) == ("good", "poor"):
            assert each.first_value == pytest.approx(values["good"][key])
            assert each.second_value == pytest.approx(values["poor"][key])
            assert each.difference == pytest.approx(values["good"][key] - values["poor"][key])
            assert each.ci_low <= each.difference <= each.ci_high
            assert each.p_holm == pytest.approx(min(1, 3 * each.p), abs=1e-9)
        if (each.first, each.second) == ("good", "again"):
            assert (each.difference, each.ci_low, each.ci_high, each.p) == (0, 0, 0, 1)
    hits: dict[tuple[str, int], list[int]] = {}
    for name, query_id, image_id in db.query(
        "SELECT name, query_id, image_id FROM hit JOIN run USING (run_id) ORDER BY run_id, query_id, rank"
    ):
        hits.setdefault((name, query_id), []).append(image_id)
    for each in found.differences:
        common = [query_id for name, query_id in hits if name == each.first]
        first, second = ([set(hits[name, q][: each.n]) for q in common] for name in (each.first, each.second))
        assert each.overlap == pytest.approx(np.mean([len(a & b) / each.n for a, b in zip(first, second, strict=True)]))
    (clear,) = [
        e for e in found.differences if (e.second, e.n, e.average, e.definition) == ("poor", 10, "micro", "paper")
    ]
    assert clear.p < 0.01
    assert clear.ci_low > 0
    assert good.name == "good"


def test_runs_without_labelled_queries_are_told(db: medcbir.Database) -> None:
    for name in ("first", "second"):
        store(db, {1: (0, 0, [1, 2]), 2: (0, 0, [2, 1])}, 2, name)
    with pytest.raises(RunError, match="have no labelled query in common"):
        db.compare(["first", "second"])


@pytest.mark.usefixtures("vectors")
def test_runs_of_other_queries_or_another_index_are_compared_with_a_warning(db: medcbir.Database) -> None:
    db.retrieve(encoder="good", name="a", queries=None)
    db.retrieve(encoder="good", name="b", index=None, exclude_same_patient=False)
    found = db.compare(["a", "b"], n=[1])
    assert found.queries == 140
    assert "run a: 280 of its 420 labelled queries are not common to all runs" in found.warnings[0]
    told = " ".join(found.warnings)
    for what in ("query filters", "index filters", "sizes of the index", "same patient"):
        assert what in told
    db.retrieve(encoder="good", name="c", queries=Filter(split="train"))
    with pytest.raises(RunError, match="no labelled query in common"):
        db.compare(["b", "c"])
    with pytest.raises(InputError, match="two or more different runs"):
        db.compare(["a", "a"])
    with pytest.raises(InputError, match="keeps 10 hits"):
        db.compare(["a", "b"], n=[11])


def test_without_same_patient_is_what_a_run_without_them_says(
    db: medcbir.Database, vectors: npt.NDArray[np.float32]
) -> None:
    """Every metric, of all queries and of each class; runs keep the whole index, so that nothing is unknown."""
    full = db.retrieve(encoder="good", name="with", n=300, exclude_same_patient=False)
    without = db.retrieve(encoder="good", n=300)
    for by in (None, "class"):
        chosen = {"metric": "all", "by": by, "n": [1, 3, 10]}
        both, apart = (
            {(m.metric, m.n, m.average, m.definition, m.group): m.value for m in db.evaluate(run, **chosen)}
            for run in (full, without)
        )
        found = db.leakage("with", **chosen)
        assert len(found.differences) == 3 * len(both)
        for each in found.differences:
            key = (each.metric, each.n, each.average, each.definition, each.group)
            assert each.first_value == pytest.approx(both[key])
            assert each.seen is None
            if each.second == "without same patient":
                assert each.second_value == pytest.approx(apart[key])
                assert each.difference == pytest.approx(both[key] - apart[key])
                assert each.difference - 1e-12 <= each.ci_high
        if by is None:
            gap = next(e for e in found.differences if (e.second, e.metric, e.n) == ("without same patient", "ndcg", 1))
            assert gap.difference > 0
    rows = db.query(
        "SELECT query_id, image_id, same_patient, near_duplicate FROM run, leaked_hit(run_id) WHERE name = 'with'"
    )
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    near = {(q, i) for q, i, _, is_near in rows if is_near}
    expected = {(q + 1, i + 1) for q, i in np.argwhere(unit @ unit.T >= 0.99).tolist() if q % 3 == 0 and i % 3 != 0}
    assert near == expected
    assert len(near) > 10
    told = " ".join(found.warnings)
    assert f"{sum(row[2] for row in rows)} hits of" in told
    short = db.leakage(db.retrieve(encoder="good", n=10, exclude_same_patient=False), n=[10])
    assert "have fewer than 10 hits" in short.warnings[0]
    left = next(each for each in short.differences if each.second == "without same patient")
    assert left.queries < 140


@pytest.mark.usefixtures("vectors")
def test_a_gap_tells_whether_the_encoder_has_seen_the_dataset(db: medcbir.Database) -> None:
    db.query("INSERT INTO dataset (name) VALUES ('own') RETURNING 1")
    db.query(
        "UPDATE image SET dataset_id = (SELECT dataset_id FROM dataset WHERE name = 'own') WHERE image_id % 2 = 0 "
        "RETURNING 1"
    )
    run = db.retrieve(encoder="good", n=10)
    with db._open() as connection:
        for seen, by, wanted in (
            (["m"], "dataset", {"m": True, "own": False}),
            (["m", "nih14"], None, {None: True}),
            (["nih14"], None, {None: False}),
            ([], "dataset", {"m": False, "own": False}),
            (None, "dataset", {"m": None, "own": None}),
        ):
            found = leakage(connection, run, [1], 0.01, by=by, seen=seen)  # type: ignore[arg-type]
            assert {each.group: each.seen for each in found.differences} == wanted


@pytest.mark.parametrize(
    ("index", "n"),
    [(Filter(split="train"), 20), (Filter(datasets=["m"], split="train", finding="finding 1", modality="CT"), 150)],
)
@pytest.mark.usefixtures("vectors")
def test_metrics_without_leaks_are_those_of_a_run_that_excludes_them(
    db: medcbir.Database, index: Filter, n: int
) -> None:
    """Of a run of few hits those that are known, which are most; of one that keeps the whole index all."""
    db.query(
        "UPDATE image SET pixel_sha256 = sha256((image_id %% 100)::text::bytea) WHERE image_id BETWEEN 101 AND 130 "
        "OR image_id BETWEEN 201 AND 230 RETURNING 1",
        {},
    )
    everything = {"encoder": "good", "index": index, "exclude_same_patient": False, "n": n}
    full = db.retrieve(**everything)
    for excluded, same_patient, within in (
        ({"exclude_same_patient": True}, True, None),
        ({"exclude_duplicates": True}, False, -1),  # no distance is: the same pixels alone
        ({"exclude_same_patient": True, "exclude_duplicates": True}, True, -1),
    ):
        apart = db.retrieve(**(everything | excluded))
        chosen = "metric, query_id, label_id, dataset_id, n, relevant, value"
        wanted = db.query(
            f"SELECT {chosen} FROM evaluation_query WHERE run_id = %(r)s AND (n IN (1, 7, 20) OR n IS NULL)",
            {"r": apart.run_id},
        )
        found = db.query(
            f"SELECT {chosen} FROM evaluation_query_without(%(r)s, %(p)s, %(w)s, NULL, '{{1,7,20}}')",
            {"r": full.run_id, "p": same_patient, "w": within},
        )
        values = {row[:-1]: row[-1] for row in found}
        assert values.keys() == {row[:-1] for row in wanted}
        unknown = [row for row in wanted if values[row[:-1]] is None and row[-1] is not None]
        assert all(values[row[:-1]] == row[-1] for row in wanted if row not in unknown)
        assert len(unknown) < len(wanted) / 2
        assert bool(unknown) == (n < full.index)


def _subset_run(
    db: medcbir.Database, ids: list[int], queries: list[int], tmp_path: Path, n: int
) -> dict[int, list[int]]:
    """Hits of `queries` among `ids` by pgvector, one statement each."""
    return {
        query: [
            row[0]
            for row in db.query(
                "SELECT b.image_id FROM embedding_good AS b WHERE b.image_id = ANY(%(ids)s) ORDER BY "
                "b.v <=> (SELECT v FROM embedding_good WHERE image_id = %(query)s), b.image_id LIMIT %(n)s",
                {"ids": ids, "query": query, "n": n},
            )
        ]
        for query in queries
    }


def test_nested_indexes_answer_as_pgvector_does_on_each(
    db: medcbir.Database, vectors: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcbir.evaluation import ablation

    seen = []
    original = ablation.nested_top_n

    def watched(connection, encoder, cached, queries, index, levels, n, **options):  # type: ignore[no-untyped-def]
        hits = list(original(connection, encoder, cached, queries, index, levels, n, **options))
        seen.append((queries, index, levels, hits))
        return iter(hits)

    monkeypatch.setattr(ablation, "nested_top_n", watched)
    found = db.ablate_index_size(encoder="good", sizes=[2, 9, 30], n=[1, 5], seeds=2, exclude_same_patient=False)
    assert (found.classes, found.queries) == (3, 3 * found.queries_per_class)
    for draw, (queries, index, levels, hits) in enumerate(seen):
        for level, size in enumerate((2, 9, 30)):
            subset = levels <= level
            assert np.unique(index.label_ids[subset], return_counts=True)[1].tolist() == [size] * 3
            expected = _subset_run(db, index.image_ids[subset].tolist(), queries.image_ids.tolist(), tmp_path, 5)
            for query, got in zip(queries.image_ids.tolist(), hits[level], strict=True):
                assert index.image_ids[got[got >= 0]].tolist() == expected[query]
            label = dict(zip(index.image_ids.tolist(), index.label_ids.tolist(), strict=True))
            matches = [
                sum(label[hit] == wanted for hit in expected[query])
                for query, wanted in zip(queries.image_ids.tolist(), queries.label_ids.tolist(), strict=True)
            ]
            stored = db.query(
                "SELECT sum(matches), sum(queries) FROM ablation_class WHERE seed = %(seed)s AND n = 5 AND "
                "images_per_class = %(size)s",
                {"seed": draw, "size": size},
            )
            assert stored == [(sum(matches), len(matches))]


@pytest.mark.usefixtures("vectors")
def test_the_same_seed_gives_the_same_rows_and_intervals_are_over_draws(db: medcbir.Database) -> None:
    first = db.ablate_index_size(encoder="good", sizes=[3, 20], seeds=3, seed=4)
    again = db.ablate_index_size(encoder="good", sizes=[20, 3], seeds=3, seed=4)
    other = db.ablate_index_size(encoder="good", sizes=[3, 20], seeds=1, seed=9)
    rows = (
        "SELECT seed, images_per_class, n, label_id, queries, matches FROM ablation_class WHERE ablation_id = %(a)s "
        "ORDER BY 1, 2, 3, 4"
    )
    assert first.points == again.points
    assert db.query(rows, {"a": first.ablation_id}) == db.query(rows, {"a": again.ablation_id})
    assert other.points[0].ci_low is None
    by_seed = [
        float(row[0])
        for row in db.query(
            "SELECT sum(matches)::float8 / sum(queries) FROM ablation_class WHERE ablation_id = %(a)s AND "
            "images_per_class = 3 GROUP BY seed",
            {"a": first.ablation_id},
        )
    ]
    point = first.points[0]
    assert point.value == pytest.approx(np.mean(by_seed))
    half = 4.303 * np.std(by_seed, ddof=1) / np.sqrt(3)  # t of two degrees of freedom, as printed
    assert (point.ci_low, point.ci_high) == pytest.approx((point.value - half, point.value + half), abs=1e-4)


@pytest.mark.usefixtures("vectors")
def test_no_draw_depends_on_how_labels_are_numbered(db: medcbir.Database) -> None:
    first = db.ablate_index_size(encoder="good", sizes=[3, 20], seeds=2)
    db.query(
        "INSERT INTO label (name, key, modality, region, finding, kind) SELECT 'other ' || name, 'other ' || key, "
        "modality, region, finding, kind FROM label ORDER BY label_id DESC RETURNING 1"
    )
    db.query(
        "UPDATE image_label AS i SET label_id = o.label_id FROM label AS l JOIN label AS o "
        "ON o.name = 'other ' || l.name WHERE l.label_id = i.label_id RETURNING 1"
    )
    again = db.ablate_index_size(encoder="good", sizes=[3, 20], seeds=2)
    of_classes = (
        "SELECT b.seed, b.images_per_class, b.n, l.finding, b.queries, b.matches FROM ablation_class AS b "
        "JOIN label AS l USING (label_id) WHERE b.ablation_id = %(id)s ORDER BY 1, 2, 3, 4"
    )
    expected, found = (db.query(of_classes, {"id": each.ablation_id}) for each in (first, again))
    assert found == expected
    assert len({matches for *_, matches in found}) > 1


@pytest.mark.usefixtures("vectors")
def test_what_an_ablation_cannot_do_is_told(db: medcbir.Database) -> None:
    largest = db.query(
        "SELECT l.name, count(*) FROM image JOIN image_label USING (image_id) JOIN label AS l USING (label_id) "
        "WHERE split = 'train' GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    )[0]
    with pytest.raises(
        RunError, match=re.escape(f"more than 3000 index images; the largest, {largest[0]}, has {largest[1]}")
    ):
        db.ablate_index_size(encoder="good")
    with pytest.raises(InputError, match="none can have 50"):
        db.ablate_index_size(encoder="good", sizes=[50], larger_than=0, queries_per_class=1)
    with pytest.raises(RunError, match="has 1000 queries"):
        db.ablate_index_size(encoder="good", sizes=[5], queries_per_class=1000)
    assert db.query("SELECT count(*) FROM ablation") == [(0,)]
    db.ablate_index_size(encoder="good", sizes=[3], seeds=1, name="mine")
    with pytest.raises(InputError, match="an ablation named 'mine' exists: choose another name"):
        db.ablate_index_size(encoder="good", sizes=[3], seeds=1, name="mine")
    assert db.query("SELECT name FROM ablation") == [("mine",)]


@pytest.mark.usefixtures("vectors")
def test_class_size_beside_precision_is_that_of_evaluate_by_class(db: medcbir.Database) -> None:
    run = db.retrieve(encoder="good")
    rows = db.query(
        "SELECT class, index_images, precision FROM class_size_precision WHERE run_id = %(run)s AND n = 1",
        {"run": run.run_id},
    )
    sizes = dict(
        db.query(
            "SELECT l.name, count(*) FROM image JOIN image_label USING (image_id) JOIN label AS l USING (label_id) "
            "WHERE split = 'train' GROUP BY 1"
        )
    )
    by_class = {
        m.group: m.value for m in db.evaluate(run, n=[1], by="class") if (m.average, m.definition) == ("micro", "paper")
    }
    assert {name: (size, value) for name, size, value in rows} == {
        name: (sizes.get(name, 0), by_class[name]) for name in by_class
    }
