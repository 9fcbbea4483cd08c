"""P@N of the views against an independent computation in numpy, scikit-learn and ranx, on runs with every trap."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.random import default_rng
from ranx import Qrels, evaluate
from ranx import Run as RanxRun
from sklearn.metrics import precision_score

import medcbir
from medcbir.types import Filter, Run

CLASSES = 14
SMALL_CLASS, ABSENT_CLASS = 13, 14  # two index images; none in the index


class Collection:
    """Random images with ties, exact duplicates, small and absent classes, unlabelled and multi-label images."""

    def __init__(self, seed: int, size: int = 400, dim: int = 5) -> None:
        rng = default_rng(seed)
        self.split = rng.choice(["train", "test"], size)
        self.dataset = np.arange(size) % 2
        self.patient = rng.integers(0, 50, size)  # 0: unknown; two datasets may call two patients alike
        self.person = np.where(self.patient > 0, 2 * self.patient + self.dataset, 0)
        self.label = rng.integers(0, CLASSES - 1, size)  # 0: none
        self.label[rng.permutation(np.flatnonzero(self.split == "train"))[:2]] = SMALL_CLASS
        self.label[rng.permutation(np.flatnonzero(self.split == "test"))[:9]] = np.repeat(
            [SMALL_CLASS, ABSENT_CLASS], [4, 5]
        )
        self.second_label = np.where((rng.random(size) < 0.05) & (self.label > 0), self.label % (CLASSES - 2) + 1, 0)
        self.second_label[self.label >= SMALL_CLASS] = 0
        vectors = rng.integers(-1, 2, (size, dim)).astype(np.float64)  # few directions: ties and duplicates
        vectors[~vectors.any(axis=1)] = 1
        vectors *= rng.uniform(0.01, 100, (size, 1))
        self.vectors = vectors.astype(np.float32)
        self.uri = [f"img/{number:04}.png" for number in range(size)]

    def manifest(self, file: Path) -> Path:
        lines = ["uri,dataset,patient,split,modality,region,finding"]
        for number, uri in enumerate(self.uri):
            findings = [f"finding {label}" for label in (self.label[number], self.second_label[number]) if label]
            patient = f"p{self.patient[number]}" if self.patient[number] else ""
            lines.append(
                f"{uri},set {self.dataset[number]},{patient},{self.split[number]},CT,chest,{'|'.join(findings)}"
            )
        file.write_text("\n".join(lines) + "\n")
        return file

    def save(self, file: Path) -> Path:
        np.savez(file, uri=np.array(self.uri), vector=self.vectors)
        return file

    def stored_unit(self) -> npt.NDArray[np.float64]:
        wide = self.vectors.astype(np.float64)
        return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)

    def top_n(self, n: int, *, exclude_same_patient: bool) -> dict[int, list[int]]:
        """Brute force in float64: for each query its hits, with ties (within 1e-6) in the order of the collection."""
        unit = self.stored_unit()
        single = self.second_label == 0
        index = np.flatnonzero((self.split == "train") & single)
        hits = {}
        for query in np.flatnonzero((self.split == "test") & single):
            allowed = (
                index[(self.person[index] != self.person[query]) | (self.person[query] == 0)]
                if exclude_same_patient
                else index
            )
            norms = np.linalg.norm(unit[allowed], axis=1) * np.linalg.norm(unit[query])
            distance = np.round(1 - unit[allowed] @ unit[query] / norms, 6)
            hits[int(query)] = allowed[np.lexsort((allowed, distance))][:n].tolist()
        return hits


@pytest.fixture(params=[0, 1, 2])
def collection(request: pytest.FixtureRequest, db: medcbir.Database, tmp_path: Path) -> Collection:
    made = Collection(request.param)
    db.ingest(made.manifest(tmp_path / "manifest.csv"), metadata_only=True)
    db.import_vectors(made.save(tmp_path / "vectors.npz"), encoder="random")
    return made


def _positions(db: medcbir.Database, collection: Collection) -> dict[int, int]:
    where = {uri: number for number, uri in enumerate(collection.uri)}
    return {image_id: where[uri] for image_id, uri in db.query("SELECT image_id, uri FROM image")}


def _stored_hits(db: medcbir.Database, run: Run, positions: dict[int, int]) -> dict[int, list[int]]:
    hits: dict[int, list[int]] = defaultdict(list)
    for query_id, image_id in db.query(
        "SELECT query_id, image_id FROM hit WHERE run_id = %(run)s ORDER BY query_id, rank", {"run": run.run_id}
    ):
        hits[positions[query_id]].append(positions[image_id])
    return hits


@pytest.mark.parametrize("exclude_same_patient", [True, False])
def test_hits_equal_brute_force(db: medcbir.Database, collection: Collection, exclude_same_patient: bool) -> None:
    run = db.retrieve(encoder="random", n=12, exclude_same_patient=exclude_same_patient)
    positions = _positions(db, collection)
    expected = collection.top_n(12, exclude_same_patient=exclude_same_patient)
    stored = _stored_hits(db, run, positions)
    assert set(stored) == set(expected)
    unit = collection.stored_unit()
    for query, hits in stored.items():
        # pgvector orders by its own float4 sums: equal distances may come a last bit apart, so compare distances,
        # and the order of ids where pgvector says that distances are equal.
        assert len(hits) == len(expected[query])
        got, wanted = (1 - unit[which] @ unit[query] for which in (hits, expected[query]))
        np.testing.assert_allclose(got, wanted, atol=2e-6)
    unordered = db.query(
        "SELECT count(*) FROM (SELECT (distance, image_id) < lag((distance, image_id)) OVER (PARTITION BY query_id "
        "ORDER BY rank) AS wrong FROM hit WHERE run_id = %(run)s) AS t WHERE wrong",
        {"run": run.run_id},
    )
    assert unordered == [(0,)]
    distances = db.query(
        "SELECT max(abs(h.distance - (a.random <=> b.random))) FROM hit AS h JOIN image_vectors AS a ON "
        "a.image_id = h.query_id JOIN image_vectors AS b ON b.image_id = h.image_id WHERE h.run_id = %(run)s",
        {"run": run.run_id},
    )
    assert distances == [(0.0,)]


@pytest.mark.parametrize("exclude_same_patient", [True, False])
def test_precision_equals_an_independent_computation(
    db: medcbir.Database, collection: Collection, exclude_same_patient: bool
) -> None:
    run = db.retrieve(encoder="random", n=10, exclude_same_patient=exclude_same_patient)
    positions = _positions(db, collection)
    hits = _stored_hits(db, run, positions)
    index = np.flatnonzero((collection.split == "train") & (collection.second_label == 0))
    labelled = [query for query in hits if collection.label[query]]
    assert run.labelled_queries == len(labelled)
    assert run.index == len(index)
    for n in range(1, 11):
        precision, capped = {}, {}
        for query in labelled:
            label, patient = collection.label[query], collection.person[query]
            matches = sum(collection.label[hit] == label for hit in hits[query][:n])
            allowed = index[(collection.person[index] != patient) | (patient == 0)] if exclude_same_patient else index
            relevant = int((collection.label[allowed] == label).sum())
            precision[query] = matches / n
            capped[query] = matches / min(n, relevant) if relevant else np.nan
        got = {(m.average, m.definition): m for m in db.evaluate(run, n=[n])}
        for definition, values in (("paper", precision), ("capped", capped)):
            every = np.array([values[query] for query in labelled])
            defined = every[~np.isnan(every)]
            micro = got["micro", definition]
            assert micro.value == pytest.approx(defined.mean(), abs=1e-12)
            assert micro.std == pytest.approx(defined.std(ddof=1), abs=1e-12)
            assert micro.queries == len(labelled)
            assert micro.undefined == int(np.isnan(capped_values(capped, labelled)).sum())
            means, stds = [], []
            for label in {collection.label[query] for query in labelled}:
                of_class = np.array([values[query] for query in labelled if collection.label[query] == label])
                of_class = of_class[~np.isnan(of_class)]
                means += [of_class.mean()] if len(of_class) else []
                stds += [of_class.std(ddof=1)] if len(of_class) > 1 else []
            macro = got["macro", definition]
            assert macro.value == pytest.approx(np.mean(means), abs=1e-12)
            assert macro.std == pytest.approx(np.mean(stds), abs=1e-12)


def capped_values(capped: dict[int, float], queries: list[int]) -> npt.NDArray[np.float64]:
    return np.array([capped[query] for query in queries])


def test_precision_equals_ranx(db: medcbir.Database, collection: Collection) -> None:
    run = db.retrieve(encoder="random", n=10, exclude_same_patient=False)
    positions = _positions(db, collection)
    hits = _stored_hits(db, run, positions)
    index = np.flatnonzero((collection.split == "train") & (collection.second_label == 0))
    relevant = {
        str(query): {str(hit): 1 for hit in index if collection.label[hit] == collection.label[query]}
        for query in hits
        if 0 < collection.label[query] != ABSENT_CLASS  # ranx has no query without a relevant document
    }
    ranking = {query: {str(hit): 1 / rank for rank, hit in enumerate(hits[int(query)], 1)} for query in relevant}
    theirs = evaluate(Qrels(relevant), RanxRun(ranking), ["precision@1", "precision@3", "precision@10"])
    absent = int(sum(collection.label[query] == ABSENT_CLASS for query in hits))
    for n in (1, 3, 10):
        (ours,) = [m for m in db.evaluate(run, n=[n]) if (m.average, m.definition) == ("micro", "paper")]
        scale = len(relevant) / (len(relevant) + absent)  # the absent class counts 0 here
        assert ours.value == pytest.approx(float(theirs[f"precision@{n}"]) * scale, abs=1e-9)


def test_precision_at_1_macro_equals_recall_of_scikit_learn(db: medcbir.Database, collection: Collection) -> None:
    """P@1 of a query is whether a 1-NN classifier is right; its micro mean is scikit-learn's micro precision."""
    run = db.retrieve(encoder="random", n=1)
    hits = _stored_hits(db, run, _positions(db, collection))
    labelled = [query for query in hits if collection.label[query]]
    truth = [collection.label[query] for query in labelled]
    predicted = [collection.label[hits[query][0]] for query in labelled]
    (ours,) = [m for m in db.evaluate(run) if (m.average, m.definition) == ("micro", "paper")]
    assert ours.value == pytest.approx(precision_score(truth, predicted, average="micro"), abs=1e-12)


def test_each_facet_splits_the_same_queries(db: medcbir.Database, collection: Collection) -> None:
    run = db.retrieve(encoder="random", n=5)
    whole = {(m.average, m.definition): m for m in db.evaluate(run, n=[5])}
    for facet in ("class", "modality", "region", "dataset", "kind"):
        groups = db.evaluate(run, n=[5], by=facet)
        micro = [m for m in groups if m.average == "micro" and m.definition == "paper"]
        assert sum(m.queries for m in micro) == run.labelled_queries
        weighted = sum((m.value or 0.0) * m.queries for m in micro) / run.labelled_queries
        assert weighted == pytest.approx(whole["micro", "paper"].value, abs=1e-12)
    single = {(m.average, m.definition): m for m in db.evaluate(run, n=[5], by="modality")}
    for key, metric in single.items():
        assert metric.group == "CT"
        assert metric.value == pytest.approx(whole[key].value, abs=1e-12)
        assert metric.std == pytest.approx(whole[key].std, abs=1e-9)


def test_intervals_of_groups_are_those_of_their_queries(db: medcbir.Database, collection: Collection) -> None:
    run = db.retrieve(encoder="random", n=5)
    whole = {(m.average, m.definition): (m.value, m.ci_low, m.ci_high) for m in db.evaluate(run, n=[5])}
    for value, low, high in whole.values():
        assert value is not None
        assert low is not None
        assert high is not None
        assert low < value < high
    one = {(m.average, m.definition): m for m in db.evaluate(run, n=[5], by="region")}  # all are of one region
    for key, m in one.items():
        assert (m.value, m.ci_low, m.ci_high) == pytest.approx(whole[key])
    for metric in db.evaluate(run, n=[5], by="class"):
        if metric.group == f"CT/chest/finding {ABSENT_CLASS}":
            ends = (0.0, 0.0) if metric.definition == "paper" else (None, None)
            assert (metric.ci_low, metric.ci_high) == ends


def test_a_query_without_hits_counts_zero(db: medcbir.Database, tmp_path: Path) -> None:
    """Worked by hand: two queries of one class; one finds its only relevant image, the other's patient owns all."""
    (tmp_path / "m.csv").write_text(
        "uri,patient,split,modality,region,finding\n"
        "i,p1,train,CT,chest,nodule\n"
        "q1,p1,test,CT,chest,nodule\n"
        "q2,p2,test,CT,chest,nodule\n"
    )
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    np.savez(tmp_path / "v.npz", uri=np.array(["i", "q1", "q2"]), vector=np.eye(3, 4, dtype=np.float32) + 1)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    run = db.retrieve(encoder="e", n=3)
    assert db.query("SELECT count(*) FROM hit") == [(1,)]
    got = {(m.n, m.average, m.definition): m for m in db.evaluate(run)}
    assert got[1, "micro", "paper"].value == pytest.approx(1 / 2)
    assert got[3, "micro", "paper"].value == pytest.approx(1 / 6)
    assert got[3, "micro", "capped"].value == pytest.approx(1.0)
    assert got[3, "micro", "capped"].undefined == 1
    assert got[1, "macro", "paper"].value == pytest.approx(1 / 2)


def test_runs_do_not_mix_and_drop_at_once(db: medcbir.Database, collection: Collection) -> None:
    first = db.retrieve(encoder="random", n=4, name="first")
    before = db.evaluate(first)
    second = db.retrieve(
        encoder="random", n=7, index=Filter(dataset="set 1", split="train"), exclude_same_patient=False
    )
    assert second.index < first.index
    assert db.evaluate("first") == before
    db.query("SELECT drop_run(%(run)s)", {"run": second.run_id})
    assert db.query("SELECT DISTINCT run_id FROM hit") == [(first.run_id,)]
    assert db.evaluate("first") == before
