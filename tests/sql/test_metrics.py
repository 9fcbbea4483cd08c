"""Every registered metric against its formula in plain Python, pytorch-metric-learning, and by hand."""

from math import log2

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from stored_runs import Lists, store

import medcbir
from medcbir.evaluation.metrics import FACETS
from medcbir.store.sqlfiles import packaged_folder, query
from medcbir.types import Metric

LABELS = 9  # the last class is absent from the index, the one before it has one query


def random_lists(seed: int, n: int, queries: int = 150) -> Lists:
    """Few and many relevant images, missing hits, fewer hits than N, unlabelled hits and queries, an absent class."""
    rng = default_rng(seed)
    lists: Lists = {}
    for number in range(1, queries + 1):
        label = int(rng.integers(0, LABELS - 1)) if number > 6 else LABELS
        label = LABELS - 1 if number == 7 else label if label != LABELS - 1 else 1
        kept = int(rng.choice([n, n, n, rng.integers(0, n + 1)]))
        hits = np.where(rng.random(kept) < 0.4, label, rng.integers(0, LABELS, kept))
        if label == LABELS:
            hits = np.where(hits == label, 0, hits)
        found = int((hits == label).sum())
        relevant = 0 if label in (0, LABELS) else found + int(rng.integers(0, 3)) * int(rng.integers(0, n))
        lists[number] = (label, max(relevant, int(label not in (0, LABELS))), hits.tolist())
    return lists


def _ranks(label: int, hits: list[int]) -> list[int]:
    return [rank for rank, found in enumerate(hits, 1) if found == label]


def _vote(label: int, hits: list[int]) -> float:
    votes = [hit for hit in hits if hit]
    return float(bool(votes) and max(votes, key=lambda hit: (votes.count(hit), -votes.index(hit))) == label)


def _ap(ranks: list[int]) -> float:
    return sum(number / rank for number, rank in enumerate(ranks, 1))


def expected(name: str, label: int, relevant: int, hits: list[int], n: int | None, kept: int) -> float | None:
    """The metric's formula as the documentation has it; None where it has no value."""
    if n is None:
        if not 0 < relevant <= kept:
            return None
        ranks = _ranks(label, hits[:relevant])
        return {"r_precision": len(ranks) / relevant, "map_at_r": _ap(ranks) / relevant}[name]
    ranks = _ranks(label, hits[:n])
    possible = min(n, relevant)
    if name in {"precision_capped", "average_precision", "ndcg"} and not possible:
        return None
    return {
        "precision": lambda: len(ranks) / n,
        "precision_capped": lambda: len(ranks) / possible,
        "hit_rate": lambda: float(bool(ranks)),
        "reciprocal_rank": lambda: 1 / ranks[0] if ranks else 0.0,
        "average_precision": lambda: _ap(ranks) / possible,
        "ndcg": lambda: (
            sum(1 / log2(rank + 1) for rank in ranks) / sum(1 / log2(rank + 1) for rank in range(1, possible + 1))
        ),
        "vote": lambda: _vote(label, hits[:n]),
    }[name]()


def registered(db: medcbir.Database) -> list[str]:
    return [name for (name,) in db.query(query("metrics"))]


def values_of(db: medcbir.Database, run_id: int) -> dict[tuple[str, int, int | None], float | None]:
    rows = db.query("SELECT metric, query_id, n, value FROM evaluation_query WHERE run_id = %(r)s", {"r": run_id})
    found = {(metric, query_id, n): value for metric, query_id, n, value in rows}
    assert len(found) == len(rows)
    return found


def test_every_metric_equals_its_formula_for_every_query_and_n(db: medcbir.Database) -> None:
    runs = {(lists_n := (random_lists(seed, n), n))[1]: (lists_n[0], seed) for seed, n in ((0, 12), (1, 1), (2, 25))}
    stored = {n: store(db, lists, n, f"run{n}") for n, (lists, _) in runs.items()}
    names = registered(db)
    for n, (lists, _) in runs.items():
        found = values_of(db, stored[n])
        labelled = {q: row for q, row in lists.items() if row[0]}
        wanted = {}
        for name in names:
            for size in [None] if name in {"r_precision", "map_at_r"} else range(1, n + 1):
                for q, (label, relevant, hits) in labelled.items():
                    wanted[name, q, size] = expected(name, label, relevant, hits, size, n)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key] == pytest.approx(value, abs=1e-12), key


def test_every_metric_keeps_the_contract(db: medcbir.Database) -> None:
    """One shape, in [0, 1], 1 for a perfect list and 0 without a relevant hit, a header and a row in the docs."""
    run_id = store(db, {1: (1, 3, [1, 1, 1]), 2: (2, 3, [3, 4, 5]), 3: (3, 1, [])}, 3)
    docs = (packaged_folder("sql").parent / "docs" / "evaluation.md").read_text()
    found = values_of(db, run_id)
    for name in registered(db):
        columns = db.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = %(v)s::regclass AND attnum > 0", {"v": f"metric_{name}"}
        )
        shape = {"run_id", "query_id", "label_id", "dataset_id", "relevant", "n", "value"}
        assert {column for (column,) in columns} == shape
        mine = {key[1:]: value for key, value in found.items() if key[0] == name}
        assert {value for (q, _), value in mine.items() if q == 1} == {1.0}
        assert {value for (q, _), value in mine.items() if q in (2, 3)} == {0.0}
        assert "Source: " in "".join(
            file.read_text() for file in packaged_folder("sql").glob(f"views/metric_{name}_v*.sql")
        )
        assert f"| `{name.removesuffix('_capped')}`" in docs
        assert db.evaluate("r", metric=name.removesuffix("_capped"))


def test_a_new_view_is_a_new_metric(db: medcbir.Database) -> None:
    store(db, {1: (1, 3, [1, 2, 1])}, 3)
    with db._open() as connection:
        connection.execute(
            "CREATE VIEW metric_first AS SELECT run_id, query_id, label_id, dataset_id, relevant, n, "
            "0.25::double precision AS value FROM query_cutoff"
        )
        connection.execute("SELECT refresh_evaluation_query()")
    assert [(m.metric, m.definition, m.value) for m in db.evaluate(metric="first", n=[3])] == [
        ("first", None, 0.25),
        ("first", None, 0.25),
    ]


def test_worked_example_by_hand(db: medcbir.Database) -> None:
    """Hits of classes 1 2 2 1 0 for a query of class 1 with three relevant images: relevant at ranks 1 and 4."""
    store(db, {1: (1, 3, [1, 2, 2, 1, 0])}, 5)
    got = {(m.metric, m.definition, m.n): m.value for m in db.evaluate(metric="all", n=[3, 5]) if m.average == "micro"}
    assert got == pytest.approx(
        {
            ("precision", "paper", 3): 1 / 3,
            ("precision", "paper", 5): 2 / 5,
            ("precision", "capped", 3): 1 / 3,
            ("precision", "capped", 5): 2 / 3,
            ("hit_rate", None, 3): 1,
            ("hit_rate", None, 5): 1,
            ("reciprocal_rank", None, 3): 1,
            ("reciprocal_rank", None, 5): 1,
            ("average_precision", None, 3): 1 / 3,
            ("average_precision", None, 5): (1 + 2 / 4) / 3,
            ("ndcg", None, 3): 1 / (1 + 1 / log2(3) + 1 / 2),
            ("ndcg", None, 5): (1 + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / 2),
            ("vote", None, 3): 0,  # two of class 2
            ("vote", None, 5): 1,  # two each, the nearest hit is of class 1
            ("r_precision", None, None): 1 / 3,
            ("map_at_r", None, None): 1 / 3,
        },
        abs=1e-12,
    )


def test_pytorch_metric_learning_agrees(db: medcbir.Database) -> None:
    rng = default_rng(3)
    index_label, query_label = rng.integers(1, 5, 40), rng.integers(1, 5, 30)
    index, queries = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    order = np.argsort(((queries[:, None] - index) ** 2).sum(axis=2), axis=1)
    counts = np.bincount(index_label)
    store(
        db,
        {q + 1: (int(c), int(counts[c]), index_label[order[q]].tolist()) for q, c in enumerate(query_label)},
        40,
    )
    got = {m.metric: m.value for m in db.evaluate(metric="all", n=[1]) if m.average == "micro"}
    calculator = AccuracyCalculator(k="max_bin_count", device=torch.device("cpu"), knn_func=_Ordered(order))
    theirs = calculator.get_accuracy(queries, query_label, index, index_label, ref_includes_query=False)
    assert got["precision"] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert got["r_precision"] == pytest.approx(theirs["r_precision"], abs=1e-6)
    assert got["map_at_r"] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)


class _Ordered:
    """Neighbours as they are, so that faiss need not be asked."""

    def __init__(self, order: np.ndarray) -> None:
        self.order = torch.from_numpy(order)

    def __call__(self, query: torch.Tensor, k: int, reference: torch.Tensor, _: bool) -> tuple[None, torch.Tensor]:
        return None, self.order[:, :k]


def test_capped_precision_is_the_published_codes_up_to_99(db: medcbir.Database) -> None:
    """From labels and neighbour lists alone, in numpy: means and standard deviations for N = 1 to 99."""
    rng = default_rng(7)
    sizes = np.array([0, 3, 7, 20, 45, 60, 99, 150, 400])
    labels = np.append(rng.integers(1, 8, 119), 8)  # class 8 has one query
    hits = np.zeros((120, 100), dtype=np.int64)
    for row, label in zip(hits, labels, strict=True):
        found = min(int(sizes[label]), int(rng.integers(0, 101)))
        row[:] = rng.choice(np.setdiff1d(np.arange(1, 9), label), 100)
        row[rng.permutation(100)[:found]] = label
    store(db, {q + 1: (int(c), int(sizes[c]), hits[q].tolist()) for q, c in enumerate(labels)}, 100)
    got = {(m.n, m.average): m for m in db.evaluate(n=range(1, 100)) if m.definition == "capped"}
    for n in range(1, 100):
        value = (hits[:, :n] == labels[:, None]).sum(axis=1) / np.minimum(n, sizes[labels])
        of_class = [value[labels == label] for label in np.unique(labels)]
        assert got[n, "micro"].value == pytest.approx(value.mean(), abs=1e-12)
        assert got[n, "micro"].std == pytest.approx(value.std(ddof=1), abs=1e-12)
        assert got[n, "macro"].value == pytest.approx(np.mean([each.mean() for each in of_class]), abs=1e-12)
        spread = np.mean([each.std(ddof=1) for each in of_class if len(each) > 1])
        assert got[n, "macro"].std == pytest.approx(spread, abs=1e-12)


@pytest.mark.parametrize("possible_only", [False, True])
def test_groups_of_every_pair_of_facets(db: medcbir.Database, possible_only: bool) -> None:
    lists = random_lists(11, 5)
    store(db, random_lists(12, 5), 5, "another")
    store(db, lists, 5, "this")

    def group(facet: str, q: int, label: int) -> str:
        return {
            "class": f"c{label}",
            "kind": "anatomy" if label > 6 else "pathology",
            "modality": "MR" if label % 2 else "CT",
            "region": f"r{label % 3}",
            "dataset": "b" if q % 2 else "a",
        }[facet]

    for by in [[], *([facet] for facet in FACETS), *([f, g] for f in FACETS for g in FACETS if f != g)]:
        rows = db.evaluate("this", n=[5], by=by, metric="ndcg", possible_only=possible_only)
        members: dict[tuple[str, ...], dict[int, list[int]]] = {}
        for q, (label, relevant, _) in lists.items():
            if label and (relevant or not possible_only):
                members.setdefault(tuple(group(f, q, label) for f in by), {}).setdefault(label, []).append(q)
        assert {(m.group, m.second_group)[: len(by)] for m in rows} == members.keys()
        for m in rows:
            _check(m, members[(m.group, m.second_group)[: len(by)]], lists)


def _check(m: Metric, classes: dict[int, list[int]], lists: Lists) -> None:
    per_class = [[expected("ndcg", *lists[q], 5, 5) for q in queries] for queries in classes.values()]
    valued = [np.array([v for v in values if v is not None]) for values in per_class]
    assert m.queries == sum(map(len, per_class))
    if m.average == "micro":
        every = np.concatenate(valued)
        assert m.undefined == m.queries - len(every)
        assert m.value == (pytest.approx(every.mean(), abs=1e-12) if len(every) else None)
        assert m.std == (pytest.approx(every.std(ddof=1), abs=1e-12) if len(every) > 1 else None)
    else:
        means = [each.mean() for each in valued if len(each)]
        stds = [each.std(ddof=1) for each in valued if len(each) > 1]
        assert m.undefined == len(per_class) - len(means)
        assert m.value == (pytest.approx(np.mean(means), abs=1e-12) if means else None)
        assert m.std == (pytest.approx(np.mean(stds), abs=1e-12) if stds else None)


def test_metrics_become_a_frame(db: medcbir.Database) -> None:
    store(db, {1: (1, 1, [1, 2])}, 2)
    rows = db.evaluate(n=[2])
    pandas, polars = medcbir.frame(rows), medcbir.frame(rows, "polars")
    assert pandas["value"].tolist() == polars["value"].to_list() == [m.value for m in rows] == [0.5, 0.5, 1.0, 1.0]
