"""Every view and function that holds a number, against an independent source on the same random runs, and by hand.

A new one without a check in both `INDEPENDENT` and `BY_HAND` fails here, and so does a check of one that is gone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import log2, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from numpy.random import default_rng
from ranx import Qrels, evaluate
from ranx import Run as RanxRun
from scipy.stats import skew
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    jaccard_score,
    precision_recall_fscore_support,
    silhouette_samples,
)
from sklearn.neighbors import KNeighborsClassifier
from stored_runs import ABSENT, FIRST, INDEX, Lists, RandomRun, random_run, store
from torchmetrics.functional import retrieval

import medcbir
from medcbir.store.sqlfiles import packaged_folder
from medcbir.store.sqlfiles import query as read_query

WITHOUT_NUMBERS = {
    "duplicate_image",
    "encoder_coverage",
    "filtered_image",
    "hit",
    "image_class",
    "image_coverage",
    "image_vectors",
    "named_filter",
    "neighbour",
    "projection_image",
    "add_classification",
    "add_encoder",
    "add_filter",
    "approximate_top_n",
    "drop_classification",
    "drop_filter",
    "drop_projection",
    "drop_run",
    "make_partition",
    "note_removed_vectors",
    "note_vector_change",
    "refresh_evaluation_query",
    "refresh_filtered_image",
    "refresh_image_vectors",
    "rename_encoder",
    "retire_encoder",
    "similar_to",
    "top_n",
    "watch_embedding",
}
"""They list, search and administer; what they say is tested elsewhere."""

K = 5
CLASSES = range(1, ABSENT + 1)
WITHIN = 0.25
Query = tuple[int, int | None]


@dataclass(eq=False)
class Stored:
    """A random run as it is stored, with the classification by the votes of its first `K` hits.

    `queries` has a row of query, label (0: none), relevant and dataset; `hits` of query, rank, image, distance, label.
    """

    run_id: int
    classification_id: int
    n: int
    queries: pd.DataFrame
    hits: pd.DataFrame

    @property
    def labelled(self) -> pd.DataFrame:
        return self.queries[self.queries.label > 0]

    @property
    def sizes(self) -> list[int]:
        """The N that slow libraries are asked for."""
        return [n for n in (1, 2, 5, 12, 25) if n <= self.n]

    @cached_property
    def _by_query(self) -> dict[int, pd.DataFrame]:
        return dict(list(self.hits.groupby("query")))

    def first(self, query: int, n: int | None = None) -> pd.DataFrame:
        return self._by_query.get(query, self.hits[:0])[:n]


@dataclass(frozen=True)
class World:
    """Three random runs in one database, who is on the images (0: unknown), and an ablation."""

    db: medcbir.Database
    runs: tuple[Stored, ...]
    patient: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]
    ablation: pd.DataFrame

    def rows(self, columns: str, rest: str, run: Stored | None = None, **arguments: Any) -> pd.DataFrame:
        """`SELECT columns rest`, where %(run)s is the run's id."""
        if run is not None:
            arguments["run"] = run.run_id
        with self.db._open() as connection:
            found = connection.execute(f"SELECT {columns} {rest}".encode(), arguments)
            return pd.DataFrame(found.fetchall(), columns=[column.name for column in found.description or ()])


def _frames(run: RandomRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    queries = pd.DataFrame(
        [(q, label, relevant, "b" if q % 2 else "a") for q, (label, relevant, _) in run.lists.items()],
        columns=["query", "label", "relevant", "dataset"],
    )
    hits = pd.DataFrame(
        [
            (q, rank, *hit)
            for q, (_, _, labels) in run.lists.items()
            for rank, hit in enumerate(zip(run.images[q], run.distances[q], labels, strict=True), 1)
        ],
        columns=["query", "rank", "image", "distance", "label"],
    )
    return queries, hits


@pytest.fixture(scope="module")
def world(clone: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    rng = default_rng(7)
    with medcbir.connect(clone(), data_dir=tmp_path_factory.mktemp("data")) as db:
        runs = []
        for seed, n in ((0, 12), (1, 1), (2, 25)):
            made = random_run(seed, n)
            run_id = made.store(db, f"run{n}")
            with db._open() as connection:
                row = connection.execute(
                    "SELECT add_classification('knn', 1, %s, %s, %s, '{}', '{}', 0)",
                    (run_id, list(range(1, ABSENT)), len(made.lists)),
                ).fetchone()
                arguments = {"classification_id": row[0], "run_id": run_id, "k": K, "weights": "uniform"}
                connection.execute(read_query("insert_knn_predictions"), arguments)
            runs.append(Stored(run_id, row[0], n, *_frames(made)))
        patient, pixels = rng.integers(0, 60, 1000), rng.integers(0, 200, 1000)
        db.query(
            "INSERT INTO patient (dataset_id, source_id) SELECT 1, g::text FROM generate_series(1, 59) AS g RETURNING 1"
        )
        db.query(
            "UPDATE image SET patient_id = nullif(p, 0), pixel_sha256 = CASE WHEN x > 0 THEN sha256(x::text::bytea) "
            "END FROM unnest(%(patient)s::int[], %(pixels)s::int[]) WITH ORDINALITY AS u (p, x, id) "
            "WHERE image_id = id RETURNING 1",
            {"patient": patient[1:].tolist(), "pixels": pixels[1:].tolist()},
        )
        _catalogue(db)
        ablation = pd.DataFrame(
            [
                (seed, size, n, label, 10 + label, int(rng.integers(0, n * (10 + label) + 1)))
                for seed in (3, 4, 5)
                for size in (5, 50)
                for n in (1, 10)
                for label in (1, 2, 6)
            ],
            columns=["seed", "size", "n", "label", "queries", "matches"],
        )
        _ablate(db, ablation)
        yield World(db, tuple(runs), patient, pixels, ablation)


def _catalogue(db: medcbir.Database) -> None:
    """The index images by class, with a vector but for every 17th; and images of their patients outside the index."""
    with db._open() as connection:
        connection.execute('UPDATE run SET index_filter = \'{"split": "train"}\'')
        for split, first in (("train", FIRST), ("val", 700)):
            connection.execute(
                "UPDATE image SET split = %s WHERE image_id BETWEEN %s AND %s", (split, first, first + len(INDEX) - 1)
            )
            connection.execute(
                "INSERT INTO image_label SELECT %s + at - 1, label "
                "FROM unnest(%s::int[]) WITH ORDINALITY AS u (label, at) WHERE label > 0",
                (first, INDEX.tolist()),
            )
        connection.execute(
            "INSERT INTO embedding_e (image_id, v) SELECT image_id, '[1,0]' FROM image WHERE image_id % 17 > 0"
        )


def _ablate(db: medcbir.Database, rows: pd.DataFrame) -> None:
    with db._open() as connection, connection.transaction():
        connection.execute(
            "INSERT INTO ablation (encoder_id, query_filter, index_filter, exclude_same_patient, larger_than, "
            "queries_per_class, first_seed, seconds) VALUES (1, '{}', '{}', true, 50, 10, 3, 0)"
        )
        for row in rows.to_numpy().tolist():
            connection.execute(
                "INSERT INTO ablation_class (ablation_id, seed, images_per_class, n, label_id, queries, matches) "
                "SELECT max(ablation_id), %s, %s, %s, %s, %s, %s FROM ablation",
                row,
            )


def test_every_number_has_both_checks(world: World) -> None:
    views = world.db.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'medcbir'::regnamespace AND relkind IN ('v', 'm')"
    )
    functions = world.db.query(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'medcbir'::regnamespace AND NOT EXISTS "
        "(SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
    )
    there = {name for (name,) in (*views, *functions)}
    assert there >= WITHOUT_NUMBERS
    assert set(INDEPENDENT) == there - WITHOUT_NUMBERS, "add an independent check, or say that it holds no number"
    assert set(BY_HAND) == there - WITHOUT_NUMBERS, "add an example worked by hand"
    page = (packaged_folder("sql").parent / "docs" / "evaluation.md").read_text().partition("## What checks")[2]
    assert [name for name in INDEPENDENT if f"`{name}`" not in page] == []


def test_the_runs_hold_every_trap(world: World) -> None:
    assert len({run.run_id for run in world.runs}) == 3
    for run in world.runs:
        count = run.hits.groupby("query").size().reindex(run.queries["query"], fill_value=0).to_numpy()
        per_class = run.labelled.groupby("label").size()
        assert (count == 0).any()
        assert (run.n == 1) or ((count > 0) & (count < run.n)).any()  # fewer hits than N
        assert (run.queries.label == 0).any()
        assert (run.hits.label == 0).any()
        assert per_class[7] == 1
        assert per_class[ABSENT] > 1
        assert ABSENT not in INDEX
        assert (run.n == 1) or (run.hits.groupby(["query", "distance"]).size() > 1).any()  # equal distances
        votes = run.hits[run.hits.label > 0].groupby(["query", "label"]).size().groupby("query")
        assert (run.n == 1) or votes.apply(
            lambda count: (count == count.max()).sum() > 1
        ).any()  # equally common classes
        relevant = run.labelled.relevant
        assert (relevant == 0).any()
        assert (relevant < run.n).any()
        assert (relevant > run.n).any()


def relevance(run: Stored, query: int, label: int) -> list[bool]:
    """Whether each of the first N hits is of the class; missing ones are not."""
    found = (run.first(query).label == label).tolist()
    return found + [False] * (run.n - len(found))


def ranking(world: World, run: Stored) -> None:
    found = world.rows(
        "query_id, label_id, d.name dataset, relevant, hit_label_ids, relevant_ranks",
        "FROM query_ranking JOIN dataset AS d USING (dataset_id) WHERE run_id = %(run)s ORDER BY 1",
        run,
    )
    assert found[["query_id", "label_id", "dataset", "relevant"]].to_numpy().tolist() == (
        run.labelled[["query", "label", "dataset", "relevant"]].to_numpy().tolist()
    )
    for row in found.itertuples():
        assert row.hit_label_ids == run.first(row.query_id).label.tolist()
        assert row.relevant_ranks == (np.flatnonzero(relevance(run, row.query_id, row.label_id)) + 1).tolist()


def cutoff(world: World, run: Stored) -> None:
    found = world.rows("query_id, n, matches", "FROM query_cutoff WHERE run_id = %(run)s ORDER BY 1, 2", run)
    wanted = [np.cumsum(relevance(run, q, label)) for q, label in run.labelled[["query", "label"]].to_numpy().tolist()]
    assert found.matches.tolist() == np.concatenate(wanted).tolist()
    assert found.n.tolist() == list(range(1, run.n + 1)) * len(run.labelled)


Library = Callable[[Stored, int | None], dict[int, float]]


def with_ranx(name: str, run: Stored, queries: pd.DataFrame, n: int | None) -> dict[int, float]:
    """By query; ranx knows no query without a relevant document."""
    qrels, lists = {}, {}
    for q, label, relevant in queries.loc[queries.relevant > 0, ["query", "label", "relevant"]].to_numpy().tolist():
        found = relevance(run, q, label)
        unseen = {f"unseen{number}": 1 for number in range(relevant - sum(found))}
        qrels[str(q)] = {f"hit{rank}": 1 for rank, is_relevant in enumerate(found) if is_relevant} | unseen
        lists[str(q)] = {f"hit{rank}": 1 / (rank + 1) for rank in range(len(run.first(q)))} or {"none": 1.0}
    theirs = evaluate(Qrels(qrels), RanxRun(lists), name if n is None else f"{name}@{n}", return_mean=False)
    return {int(q): float(value) for q, value in zip(sorted(qrels), theirs, strict=True)}


def ranx(name: str) -> Library:
    return lambda run, n: with_ranx(name, run, run.labelled, n)


def torchmetrics(function: Callable[..., torch.Tensor]) -> Library:
    def values(run: Stored, n: int | None) -> dict[int, float]:
        found = {}
        for q, label, relevant in run.labelled[["query", "label", "relevant"]].to_numpy().tolist():
            hits = relevance(run, q, label)
            targets = torch.tensor(hits + [True] * (relevant - sum(hits)))
            scores = torch.arange(len(targets), 0, -1).float()
            found[q] = function(scores, targets, **({} if n is None else {"top_k": n})).item()
        return found

    return values


def capped(precision: Library, recall: Library) -> Library:
    """Matches / min(N, R) is the larger of matches / N and matches / R."""

    def values(run: Stored, n: int | None) -> dict[int, float]:
        of_r = recall(run, n)
        return {q: max(value, of_r[q]) for q, value in precision(run, n).items() if q in of_r}

    return values


def rescaled(average_precision: Library, divides_by: Callable[[list[bool], int, int], int]) -> Library:
    """Average precision over N, which libraries divide otherwise than by min(N, R)."""

    def values(run: Stored, n: int | None) -> dict[int, float]:
        assert n is not None
        asked = run.labelled[run.labelled.relevant > 0][["query", "label", "relevant"]].to_numpy().tolist()
        theirs = average_precision(run, n)
        return {
            q: theirs[q] * divides_by(relevance(run, q, label), n, relevant) / min(n, relevant)
            for q, label, relevant in asked
        }

    return values


def at_r(run: Stored, _: int | None) -> dict[int, float]:
    """ranx divides average precision at N by R, so that N = R is MAP@R."""
    asked = run.labelled[run.labelled.relevant.between(1, run.n)]
    return {
        q: value
        for relevant, queries in asked.groupby("relevant")
        for q, value in with_ranx("map", run, queries, int(relevant)).items()
    }


def at_r_by_torchmetrics(run: Stored, _: int | None) -> dict[int, float]:
    """torchmetrics divides by the relevant hits among the first N."""
    found = {}
    for q, label, relevant in run.labelled[["query", "label", "relevant"]].to_numpy().tolist():
        if 1 <= relevant <= run.n:
            targets = torch.tensor(relevance(run, q, label)[:relevant])
            value = retrieval.retrieval_average_precision(torch.arange(relevant, 0, -1).float(), targets).item()
            found[q] = value * int(targets.sum()) / relevant
    return found


def shares(
    run: Stored, queries: list[int], k: int, weights: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """Shares (queries, classes) of the votes of the first k hits, by scikit-learn; 0 where nothing votes.

    Each query measures its own distances to the same k objects of every class, those that it did not find being far.
    `weights` is of ranks + distances / 1000.
    """
    far = 1e6
    apart = np.full((len(queries), len(CLASSES) * k), far)
    for row, q in enumerate(queries):
        for hit in run.first(q, k).itertuples():
            if hit.label:
                apart[row, (hit.label - 1) * k + hit.rank - 1] = hit.rank + hit.distance / 1000

    def weigh(coded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(coded < far, weights(coded), 0)

    model = KNeighborsClassifier(apart.shape[1], metric="precomputed", algorithm="brute", weights=weigh)
    model.fit(np.zeros((apart.shape[1],) * 2), np.repeat(CLASSES, k))
    voting = weigh(apart).any(axis=1)
    found = np.zeros((len(queries), len(CLASSES)))
    found[voting] = model.predict_proba(apart[voting])
    return found


def nearest_decides(coded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A vote each, and less than one vote for all that tells which hit is nearest."""
    return 1 + 0.5 ** np.floor(coded)


def uniform(coded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.ones_like(coded)


def similarity(coded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(1 - np.round(1000 * (coded - np.floor(coded)), 6), 0)


def vote(run: Stored, n: int | None) -> dict[int, float]:
    assert n is not None
    found = shares(run, run.labelled["query"].tolist(), n, nearest_decides)
    right = (found.argmax(axis=1) + 1 == run.labelled.label) & found.any(axis=1)
    return dict(zip(run.labelled["query"].tolist(), right.astype(float), strict=True))


LIBRARIES: dict[str, tuple[Library, ...]] = {
    "precision": (ranx("precision"), torchmetrics(retrieval.retrieval_precision)),
    "precision_capped": (
        capped(ranx("precision"), ranx("recall")),
        capped(torchmetrics(retrieval.retrieval_precision), torchmetrics(retrieval.retrieval_recall)),
    ),
    "hit_rate": (ranx("hit_rate"), torchmetrics(retrieval.retrieval_hit_rate)),
    "reciprocal_rank": (ranx("mrr"), torchmetrics(retrieval.retrieval_reciprocal_rank)),
    "average_precision": (
        rescaled(ranx("map"), lambda _, __, relevant: relevant),
        rescaled(torchmetrics(retrieval.retrieval_average_precision), lambda hits, n, _: sum(hits[:n])),
    ),
    "ndcg": (ranx("ndcg"), torchmetrics(retrieval.retrieval_normalized_dcg)),
    "r_precision": (ranx("r-precision"), torchmetrics(retrieval.retrieval_r_precision)),
    "map_at_r": (at_r, at_r_by_torchmetrics),
    "vote": (vote,),
}
WITHOUT_N = {"r_precision", "map_at_r"}
ZERO_WITHOUT_RELEVANT = {"precision", "hit_rate", "reciprocal_rank", "vote"}


def metric(name: str) -> Callable[[World, Stored], None]:
    def check(world: World, run: Stored) -> None:
        rows = world.db.query(
            f"SELECT query_id, n, value FROM metric_{name} WHERE run_id = %(run)s", {"run": run.run_id}
        )
        found = {(q, n): value for q, n, value in rows}
        relevant = dict(run.labelled[["query", "relevant"]].to_numpy().tolist())
        at = [None] if name in WITHOUT_N else list(range(1, run.n + 1))
        assert found.keys() == {(q, n) for q in relevant for n in at}
        assert len(rows) == len(found)
        for n in [None] if name in WITHOUT_N else run.sizes:
            valued = {q for q, r in relevant.items() if 0 < r <= (run.n if n is None else r)}
            for library in LIBRARIES[name]:
                theirs = library(run, n)
                assert theirs.keys() >= valued
                for q in valued:
                    assert found[q, n] == pytest.approx(theirs[q], abs=1e-6), (q, n)
            for q in relevant.keys() - valued:
                assert found[q, n] == (0 if name in ZERO_WITHOUT_RELEVANT else None)

    return check


def all_metrics(world: World, run: Stored) -> None:
    names = [name for (name,) in world.db.query(read_query("metrics"))]
    assert set(names) == set(LIBRARIES)
    columns = "query_id, label_id, dataset_id, relevant, n, value"
    for name in names:
        both = [
            world.db.query(f"SELECT {columns} FROM {table} WHERE run_id = %(run)s {rest} ORDER BY 1, 5", arguments)
            for table, rest, arguments in (
                (f"metric_{name}", "", {"run": run.run_id}),
                ("evaluation_query", "AND metric = %(name)s", {"run": run.run_id, "name": name}),
            )
        ]
        assert both[0] == both[1] != []


FACETS = ("class", "kind", "modality", "region", "dataset")


def grouped(world: World, run: Stored, metrics: list[str]) -> pd.DataFrame:
    """Values of metrics of each query, checked above against libraries, with what the query is grouped by."""
    values = world.rows(
        "metric, query_id, label_id, relevant, n, value",
        "FROM evaluation_query WHERE run_id = %(run)s AND metric = ANY(%(metrics)s) AND coalesce(n, 1) IN (1, 5)",
        run,
        metrics=metrics,
    )
    values["n"] = values.n.fillna(0).astype(int)  # pandas groups by no NULL
    values["value"] = values.value.astype(float)
    label = values.label_id
    return values.assign(
        **{"class": "c" + label.astype(str)},
        kind=np.where(label > 6, "anatomy", "pathology"),
        modality=np.where(label % 2 == 1, "MR", "CT"),
        region="r" + (label % 3).astype(str),
        dataset=np.where(values.query_id % 2 == 1, "b", "a"),
        undefined=(values.relevant == 0) | values.value.isna(),
    )


def close(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """The same rows in any order; keys are the first columns, up to the first float."""
    keys = [name for name in wanted.columns if wanted[name].dtype != float]
    pd.testing.assert_frame_equal(
        found[wanted.columns].astype(wanted.dtypes).sort_values(keys, ignore_index=True),
        wanted.sort_values(keys, ignore_index=True),
        rtol=0,
        atol=1e-9,
    )


def cells(world: World, run: Stored) -> None:
    metrics = ["precision_capped", "r_precision", "ndcg"]
    values = grouped(world, run, metrics)
    values["dataset_id"] = np.where(values.dataset == "a", 1, 2)
    values["possible"] = values.relevant > 0
    of_cell = values.groupby(["metric", "label_id", "dataset_id", "possible", "n"]).value
    wanted = of_cell.agg(
        queries="size", defined="count", mean="mean", squares=lambda v: ((v - v.mean()) ** 2).sum()
    ).reset_index()
    found = world.rows(
        "metric, label_id, dataset_id, possible, coalesce(n, 0) AS n, queries, defined, mean, squares",
        "FROM evaluation_cell WHERE run_id = %(run)s AND metric = ANY(%(metrics)s) AND coalesce(n, 1) IN (1, 5)",
        run,
        metrics=metrics,
    )
    close(found, wanted)


def averages(world: World, run: Stored) -> None:
    """Of every facet and pair of facets, with and without queries that have nothing to find."""
    metrics = ["precision", "precision_capped", "r_precision"]
    values = grouped(world, run, metrics).assign(all="all")
    sizes = pd.Series({label: int((label == INDEX).sum()) for label in CLASSES})
    wanted = []
    pairs = [("all", "all"), *((f, "all") for f in FACETS), *((f, g) for f in FACETS for g in FACETS if f != g)]
    for possible_only in (False, True):
        chosen = values[(values.relevant > 0) | (not possible_only)]
        for facet, second in pairs:
            grouping = chosen.assign(group=chosen[facet], second=chosen[second])
            for (metric, n, group, second_group), part in grouping.groupby(["metric", "n", "group", "second"]):
                by_class = part.groupby("label_id").value
                undefined = part.groupby("label_id").undefined.all()
                key = (metric, possible_only, facet, group, second, second_group, n, len(part), by_class.ngroups)
                key += (int(sizes[part.label_id.unique()].sum()),)
                wanted += [
                    (*key, "micro", int(part.undefined.sum()), part.value.mean(), part.value.std()),
                    (*key, "macro", int(undefined.sum()), by_class.mean().mean(), by_class.std().mean()),
                ]
    found = world.rows(
        "metric, possible_only, facet, group_name, second_facet, second_group, coalesce(n, 0) AS n, queries, classes, "
        "index_images, average, undefined, value, std",
        "FROM evaluation WHERE run_id = %(run)s AND metric = ANY(%(metrics)s) AND coalesce(n, 1) IN (1, 5)",
        run,
        metrics=metrics,
    )
    close(found, pd.DataFrame(wanted, columns=found.columns))


def precisions(run: Stored) -> pd.DataFrame:
    """P@N of each query by ranx, 0 and no value where it has nothing to find."""
    at, of_r = LIBRARIES["precision"][0], LIBRARIES["precision_capped"][0]
    parts = []
    for n in run.sizes:
        part = run.labelled.assign(n=n)
        parts.append(
            part.assign(paper=part["query"].map(at(run, n)).fillna(0.0), capped=part["query"].map(of_r(run, n)))
        )
    return pd.concat(parts)


def _precision_view(world: World, run: Stored, columns: str, rest: str) -> pd.DataFrame:
    found = world.rows(columns, f"FROM {rest} WHERE run_id = %(run)s", run)
    return found[found.n.isin(run.sizes)]


def precision_query(world: World, run: Stored) -> None:
    columns = "query_id query, label_id label, relevant, n, precision paper, precision_capped capped"
    wanted = precisions(run)[["query", "label", "relevant", "n", "paper", "capped"]]
    close(_precision_view(world, run, columns, "precision_query"), wanted)


_PRECISIONS = "precision paper, precision_std, precision_capped capped, precision_capped_std"


def precision_micro(world: World, run: Stored) -> None:
    of_n = precisions(run).groupby("n")
    wanted = of_n.agg(queries=("query", "size"), undefined=("capped", lambda v: int(v.isna().sum()))).reset_index()
    for name in ("paper", "capped"):
        mean_and_std = of_n[name].agg(["mean", "std"]).reset_index(drop=True)
        wanted[[name, "precision_std" if name == "paper" else "precision_capped_std"]] = mean_and_std
    close(_precision_view(world, run, f"n, queries, undefined, {_PRECISIONS}", "precision_micro"), wanted)


def _of_classes(run: Stored) -> pd.DataFrame:
    wanted = (
        precisions(run)
        .groupby(["label", "n"])
        .agg(
            queries=("query", "size"),
            undefined=("capped", lambda v: int(v.isna().sum())),
            paper=("paper", "mean"),
            precision_std=("paper", "std"),
            capped=("capped", "mean"),
            precision_capped_std=("capped", "std"),
        )
    )
    wanted = wanted.reset_index()
    wanted.insert(2, "index_images", [int((label == INDEX).sum()) for label in wanted.label])
    return wanted


def precision_class(world: World, run: Stored) -> None:
    columns = f"label_id label, n, index_images, queries, undefined, {_PRECISIONS}"
    close(_precision_view(world, run, columns, "precision_class"), _of_classes(run))


def precision_macro(world: World, run: Stored) -> None:
    of_n = _of_classes(run).groupby("n")
    wanted = of_n.agg(classes=("label", "size"), queries=("queries", "sum")).reset_index()
    wanted["undefined"] = of_n.capped.apply(lambda v: int(v.isna().sum())).to_numpy()
    for name in ("paper", "precision_std", "capped", "precision_capped_std"):
        wanted[name] = of_n[name].mean().to_numpy()
    close(_precision_view(world, run, f"n, classes, queries, undefined, {_PRECISIONS}", "precision_macro"), wanted)


def class_size(world: World, run: Stored) -> None:
    wanted = _of_classes(run)[["label", "n", "index_images", "queries", "paper"]]
    wanted.insert(1, "class", "c" + wanted.label.astype(str))
    wanted.insert(2, "kind", np.where(wanted.label > 6, "anatomy", "pathology"))
    columns = "label_id label, class, kind, n, index_images, queries, precision paper"
    close(_precision_view(world, run, columns, "class_size_precision"), wanted)


def occurrences(run: Stored, k: int) -> pd.DataFrame:
    """How often each index image is among the first k hits, also never, and how often of another class."""
    first = run.hits[run.hits["rank"] <= k].merge(run.queries[["query", "label"]], on="query", suffixes=("", "_asked"))
    bad = (first.label > 0) & (first.label_asked > 0) & (first.label != first.label_asked)
    counted = first.assign(bad=bad).groupby("image").bad.agg(["size", "sum"])
    return counted.reindex(range(FIRST, FIRST + len(INDEX)), fill_value=0)


def k_occurrence(world: World, run: Stored) -> None:
    for k in run.sizes:
        found = world.rows(
            "image_id, occurrences, bad_occurrences",
            "FROM k_occurrence WHERE run_id = %(run)s AND k = %(k)s ORDER BY 1",
            run,
            k=k,
        )
        wanted = occurrences(run, k)
        wanted = wanted[wanted["size"] > 0].reset_index()
        assert found.to_numpy().tolist() == wanted.to_numpy().tolist()


def hubness(world: World, run: Stored) -> None:
    for k in range(1, run.n + 1):
        ((*counts, mean, skewness, bad),) = world.db.query(
            "SELECT index_images, never_retrieved, most_occurrences, mean_occurrences, skewness, bad_share "
            "FROM hubness WHERE run_id = %(run)s AND k = %(k)s",
            {"run": run.run_id, "k": k},
        )
        number = occurrences(run, k)
        assert counts == [len(INDEX), int((number["size"] == 0).sum()), int(number["size"].max())]
        assert mean == pytest.approx(number["size"].mean(), abs=1e-12)
        assert skewness == pytest.approx(skew(number["size"]), abs=1e-12)
        assert bad == pytest.approx(number["sum"].sum() / number["size"].sum(), abs=1e-12)


def silhouettes(run: Stored) -> pd.DataFrame:
    """By scikit-learn, of each query among its labelled hits; their distances from each other do not matter."""
    found = []
    for q, label in run.labelled[["query", "label"]].to_numpy().tolist():
        hits = run.first(q)
        hits = hits[hits.label > 0]
        own, others = (hits.label == label).any(), (hits.label != label).any()
        value = None
        if own and others:
            apart = np.zeros((len(hits) + 1, len(hits) + 1))
            apart[0, 1:] = apart[1:, 0] = hits.distance
            value = float(silhouette_samples(apart, [label, *hits.label], metric="precomputed")[0])
        found.append((label, q, own and not others, others and not own, value))
    return pd.DataFrame(found, columns=["label", "query", "own_only", "none_own", "value"]).astype({"value": float})


def silhouette_query(world: World, run: Stored) -> None:
    found = world.rows(
        "query_id query, label_id label, own_distance, other_label_id, other_distance, silhouette value",
        "FROM silhouette_query WHERE run_id = %(run)s ORDER BY 1",
        run,
    ).astype({"own_distance": float, "other_distance": float, "value": float})
    close(found, silhouettes(run)[["query", "label", "value"]])
    for row in found.itertuples():
        hits = run.first(row.query)
        mean = hits[hits.label > 0].groupby("label").distance.mean()
        own, others = mean.get(row.label, np.nan), mean.drop(row.label, errors="ignore")
        assert row.own_distance == pytest.approx(own, nan_ok=True)
        assert row.other_distance == pytest.approx(others.min(), nan_ok=True)
        assert not len(others) or row.other_label_id == others.idxmin()


def silhouette_class(world: World, run: Stored) -> None:
    wanted = (
        silhouettes(run)
        .groupby("label")
        .agg(
            queries=("query", "size"),
            defined=("value", "count"),
            own_only=("own_only", "sum"),
            none_own=("none_own", "sum"),
            silhouette=("value", "mean"),
            silhouette_std=("value", "std"),
        )
        .reset_index()
    )
    found = world.rows(
        "label_id label, queries, defined, own_only, none_own, silhouette, silhouette_std",
        "FROM silhouette_class WHERE run_id = %(run)s",
        run,
    )
    close(found, wanted)


def agreements(first: Stored, second: Stored) -> pd.DataFrame:
    """By sets, with the mean of overlaps up to each depth; scikit-learn's jaccard_score takes queries for labels."""
    common = sorted(set(first.queries["query"]) & set(second.queries["query"]))
    everywhere = np.arange(FIRST, FIRST + len(INDEX))
    parts, overlaps = [], np.zeros((0, len(common)))
    for n in range(1, min(first.n, second.n) + 1):
        a, b = (
            np.stack([np.isin(everywhere, run.first(q, n).image) for q in common], axis=1) for run in (first, second)
        )
        shared, either = (a & b).sum(axis=0), (a | b).any(axis=0)
        overlaps = np.append(overlaps, shared[None] / n, axis=0)
        part = pd.DataFrame({"query_id": common, "n": n, "shared": shared, "overlap": shared / n, "jaccard": np.nan})
        part.loc[either, "jaccard"] = jaccard_score(a[:, either], b[:, either], average=None)
        parts.append(part.assign(average_overlap=overlaps.mean(axis=0)))
    return pd.concat(parts, ignore_index=True)


_PAIR = "WHERE first_run_id = %(run)s AND second_run_id = %(other)s"


def agreement_query(world: World, run: Stored) -> None:
    for other in world.runs:
        if other != run:
            wanted = agreements(run, other)
            found = world.rows(", ".join(wanted.columns), f"FROM agreement_query {_PAIR}", run, other=other.run_id)
            close(found, wanted)


def agreement(world: World, run: Stored) -> None:
    for other in world.runs:
        if other != run:
            of_n = agreements(run, other).groupby("n")
            wanted = of_n[["overlap", "jaccard", "average_overlap"]].mean().reset_index()
            wanted.insert(1, "queries", of_n.size().to_numpy())
            found = world.rows(", ".join(wanted.columns), f"FROM agreement {_PAIR}", run, other=other.run_id)
            close(found, wanted)


def ablation(world: World, _: Stored) -> None:
    draws = world.ablation.groupby(["size", "n", "seed"])[["label", "queries", "matches"]].agg(
        classes=("label", "size"), queries=("queries", "sum"), matches=("matches", "sum")
    )
    draws["precision"] = draws.matches / draws.queries / draws.index.get_level_values("n")
    wanted = draws.groupby(["size", "n"]).agg(
        seeds=("precision", "size"),
        classes=("classes", "first"),
        queries=("queries", "first"),
        precision=("precision", "mean"),
        precision_std=("precision", "std"),
    )
    found = world.rows(
        "images_per_class size, n, seeds, classes, queries, precision, precision_std", "FROM ablation_precision"
    )
    close(found, wanted.reset_index())


def knn_vote(world: World, run: Stored) -> None:
    asked = run.queries["query"].tolist()
    for weights, weigh in (("uniform", uniform), ("similarity", similarity)):
        for k in run.sizes:
            rows = world.db.query(
                "SELECT query_id, label_id, predicted_label_id, label_ids, scores FROM knn_vote(%(run)s, %(k)s, %(w)s) "
                "ORDER BY 1",
                {"run": run.run_id, "k": k, "w": weights},
            )
            wanted = shares(run, asked, k, weigh)
            assert [row[0] for row in rows] == asked
            assert [row[1] or 0 for row in rows] == run.queries.label.tolist()
            for (q, _, predicted, classes, scores), share in zip(rows, wanted, strict=True):
                found = np.zeros(len(CLASSES))
                found[np.array(classes, int) - 1] = scores
                np.testing.assert_allclose(found, share, atol=1e-6)
                if not share.any():
                    assert (predicted, classes) == (None, [])
                    continue
                most = np.flatnonzero(share > share.max() - 1e-9) + 1
                hits = run.first(q, k)
                assert predicted == hits[hits.label.isin(most)].label.iloc[0]  # the nearest of the most


def _positive(run: Stored) -> npt.NDArray[np.bool_]:
    return run.labelled.label.to_numpy()[:, None] == np.array(CLASSES)


def knn_auprc(world: World, run: Stored) -> None:
    for weights, weigh in (("uniform", uniform), ("similarity", similarity)):
        for k in run.sizes:
            ((found,),) = world.db.query(
                "SELECT knn_auprc(%(run)s, %(k)s, %(w)s)", {"run": run.run_id, "k": k, "w": weights}
            )
            scores = np.round(shares(run, run.labelled["query"].tolist(), k, weigh), 9)  # equal ones stay equal
            assert found == pytest.approx(average_precision_score(_positive(run), scores, average="micro"), abs=1e-9)


def predicted(run: Stored) -> npt.NDArray[np.int64]:
    """Class of the vote of the first `K` hits of each labelled query by scikit-learn, 0 where nothing votes."""
    found = shares(run, run.labelled["query"].tolist(), K, nearest_decides)
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


def auprc_of_classes(run: Stored) -> dict[int | None, float | None]:
    scores = np.round(shares(run, run.labelled["query"].tolist(), K, uniform), 9)
    positive = _positive(run)
    found: dict[int | None, float | None] = {
        label: float(average_precision_score(positive[:, label - 1], scores[:, label - 1]))
        if positive[:, label - 1].any()
        else None
        for label in CLASSES
    }
    return found | {None: float(average_precision_score(positive, scores, average="micro"))}


def average_precision(world: World, run: Stored) -> None:
    rows = world.db.query(
        "SELECT label_id, positives, auprc FROM average_precision(%(made)s)", {"made": run.classification_id}
    )
    wanted = auprc_of_classes(run)
    assert {label: value for label, _, value in rows} == {
        label: value if value is None else pytest.approx(value, abs=1e-9) for label, value in wanted.items()
    }
    assert {label: positives for label, positives, _ in rows} == {
        **{label: int((run.labelled.label == label).sum()) for label in CLASSES},
        None: len(run.labelled),
    }


def auprc(world: World, run: Stored) -> None:
    rows = world.db.query(
        "SELECT average, label_id, auprc, support, classes, undefined FROM classification_auprc "
        "WHERE classification_id = %(made)s",
        {"made": run.classification_id},
    )
    wanted = auprc_of_classes(run)
    of_classes = [value for label, value in wanted.items() if label is not None and value is not None]
    assert {(average, label): value for average, label, value, *_ in rows} == {
        **{("class", label): wanted[label] and pytest.approx(wanted[label], abs=1e-9) for label in CLASSES},
        ("micro", None): pytest.approx(wanted[None], abs=1e-9),
        ("macro", None): pytest.approx(np.mean(of_classes), abs=1e-9),
    }
    absent = len(CLASSES) - len(of_classes)
    assert {average: tuple(rest) for average, label, _, *rest in rows if label is None} == {
        "micro": (len(run.labelled), len(CLASSES), 0),
        "macro": (len(run.labelled), len(CLASSES), absent),
    }


def f1(world: World, run: Stored) -> None:
    rows = world.db.query(
        "SELECT average, label_id, precision, recall, f1, support, classes FROM classification_f1 "
        "WHERE classification_id = %(made)s",
        {"made": run.classification_id},
    )
    truth, guess = run.labelled.label.to_numpy(), predicted(run)
    labels = sorted({*truth.tolist(), *guess.tolist()} - {0})
    given = {"labels": labels, "zero_division": 0}
    of_class = np.transpose(precision_recall_fscore_support(truth, guess, **given))
    wanted = {
        ("class", label): (*values[:3], int(values[3]), 1) for label, values in zip(labels, of_class, strict=True)
    }
    for average in ("micro", "macro"):
        values = precision_recall_fscore_support(truth, guess, average=average, **given)[:3]
        wanted[average, None] = (*values, len(truth), len(labels))
    assert {(average, label): tuple(rest) for average, label, *rest in rows} == {
        key: pytest.approx(values, abs=1e-12) for key, values in wanted.items()
    }


def confusion(world: World, run: Stored) -> None:
    rows = world.db.query(
        "SELECT label_id, predicted_label_id, images FROM classification_confusion WHERE classification_id = %(made)s",
        {"made": run.classification_id},
    )
    wanted = confusion_matrix(run.labelled.label, predicted(run), labels=range(ABSENT + 1))
    found = np.zeros_like(wanted)
    for label, guess, images in rows:
        found[label, guess or 0] = images
    np.testing.assert_array_equal(found, wanted)
    assert len(rows) == (wanted > 0).sum()


def leaks(world: World, run: Stored) -> None:
    q, i = run.hits["query"].to_numpy(), run.hits.image.to_numpy()
    hits = run.hits[["query", "rank", "image", "distance"]].assign(
        same_patient=(world.patient[q] == world.patient[i]) & (world.patient[q] > 0),
        same_pixels=(world.pixels[q] == world.pixels[i]) & (world.pixels[q] > 0),
        near_duplicate=run.hits.distance <= WITHIN,
    )
    wanted = hits[hits.same_patient | hits.same_pixels | hits.near_duplicate]
    found = world.rows(
        "query_id query, rank, image_id image, distance, same_patient, same_pixels, near_duplicate",
        f"FROM leaked_hit(%(run)s, {WITHIN})",
        run,
    )
    assert wanted[["same_patient", "same_pixels", "near_duplicate"]].any().all() or run.n == 1
    close(found, wanted)


def without(world: World, run: Stored, same_patient: bool, within: float | None) -> tuple[Stored, pd.DataFrame]:
    """The run without hits that leak; left_out and known ranks of each labelled query. In plain Python."""
    index = dict(zip(range(FIRST, FIRST + len(INDEX)), INDEX.tolist(), strict=True))
    kept, rows = [], []
    for q, label, relevant in run.labelled[["query", "label", "relevant"]].to_numpy().tolist():
        origin = {
            image
            for image in range(1, 1000)
            if (same_patient and world.patient[image] == world.patient[q] > 0)
            or (within is not None and world.pixels[image] == world.pixels[q] > 0)
        }
        hits = run.first(q)
        near = (hits.distance <= within) if within is not None else hits.distance < 0
        stays = hits[~near & ~hits.image.isin(origin)]
        found = set(hits.image)
        gone = sum(index.get(image) == label and (image in found or image % 17 > 0) for image in origin)
        gone += int((near & ~hits.image.isin(origin) & (hits.label == label)).sum())
        known = run.n if len(hits) < run.n else len(stays)
        rows.append((q, label, max(relevant - gone, 0), len(hits) - len(stays), known))
        kept.append(stays.assign(rank=range(1, len(stays) + 1)))
    told = pd.DataFrame(rows, columns=["query", "label", "relevant", "left_out", "known"])
    queries = told[["query", "label", "relevant"]].assign(dataset="a")
    return Stored(run.run_id, run.classification_id, run.n, queries, pd.concat(kept)), told


VARIANTS: tuple[tuple[bool, float | None], ...] = ((True, None), (False, WITHIN), (True, WITHIN))


def hits_without(world: World, run: Stored) -> None:
    for same_patient, within in VARIANTS:
        left, wanted = without(world, run, same_patient, within)
        found = world.rows(
            "query_id query, relevant, hit_label_ids, left_out, known",
            "FROM hits_without(%(run)s, %(same_patient)s, %(within)s) ORDER BY 1",
            run,
            same_patient=same_patient,
            within=within,
        )
        assert found["query"].tolist() == wanted["query"].tolist()
        assert found.hit_label_ids.tolist() == [left.first(q).label.tolist() for q in wanted["query"]]
        close(found, wanted[["query", "relevant", "left_out", "known"]])
        assert wanted.left_out.any()


def metrics_without(world: World, run: Stored) -> None:
    """By the same libraries, from the lists without leaks."""
    for same_patient, within in VARIANTS:
        left, told = without(world, run, same_patient, within)
        matches = left.hits.merge(told[["query", "label"]], on="query", suffixes=("", "_asked"))
        matches = matches[matches.label == matches.label_asked].groupby("query").size()
        # a random run may say that fewer could be retrieved than were, which libraries do not take
        told = told[told.relevant >= told["query"].map(matches).fillna(0)].set_index("query")
        left.queries = left.queries[left.queries["query"].isin(told.index)]
        arguments = {"run": run.run_id, "same_patient": same_patient, "within": within}
        rows = world.db.query(
            "SELECT metric, query_id, n, value FROM evaluation_query_without(%(run)s, %(same_patient)s, %(within)s)",
            arguments,
        )
        found = {(name, q, n): value for name, q, n, value in rows}
        assert len(found) == len(rows) == (7 * run.n + 2) * len(run.labelled)
        for name, (library, *_) in LIBRARIES.items():
            for n in [None] if name in WITHOUT_N else run.sizes:
                theirs = library(left, n)
                for q, relevant, known in told[["relevant", "known"]].itertuples():
                    wanted = theirs.get(q, 0.0) if relevant or name in ZERO_WITHOUT_RELEVANT else None
                    wanted = wanted if (relevant if n is None else n) <= known else None
                    assert found[name, q, n] == (wanted if wanted is None else pytest.approx(wanted, abs=1e-6))
    assert world.db.query("SELECT current_setting('medcbir.left_out', true)") == [("",)]


INDEPENDENT: dict[str, Callable[[World, Stored], None]] = {
    "ablation_precision": ablation,
    "agreement": agreement,
    "agreement_query": agreement_query,
    "average_precision": average_precision,
    "class_size_precision": class_size,
    "classification_auprc": auprc,
    "classification_confusion": confusion,
    "classification_f1": f1,
    "evaluation": averages,
    "evaluation_cell": cells,
    "evaluation_query": all_metrics,
    "evaluation_query_without": metrics_without,
    "hits_without": hits_without,
    "hubness": hubness,
    "k_occurrence": k_occurrence,
    "knn_auprc": knn_auprc,
    "knn_vote": knn_vote,
    "leaked_hit": leaks,
    **{f"metric_{name}": metric(name) for name in LIBRARIES},
    "precision_class": precision_class,
    "precision_macro": precision_macro,
    "precision_micro": precision_micro,
    "precision_query": precision_query,
    "query_cutoff": cutoff,
    "query_ranking": ranking,
    "silhouette_class": silhouette_class,
    "silhouette_query": silhouette_query,
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_it_is_what_an_independent_source_says(world: World, name: str) -> None:
    for run in world.runs:
        INDEPENDENT[name](world, run)


@pytest.fixture(scope="module")
def example(clone: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[medcbir.Database]:
    """Six index images: 11, 12 and 13 of class 1, 21 and 22 of class 2, and 31 without a class.

    Run 1, N = 5: query 1 of class 1 finds 11 21 22 12 31, query 2 of class 2 finds 11 21, query 3 of class 3 (which the
    index lacks) finds 11, query 4 without a class finds 21 11, query 5 of class 1 finds nothing. Run 2, N = 3: queries
    1 and 2 again. Classification 1 is by the first two hits of run 1. 1 and 12 are of a patient, 2 and 21 look alike.
    """
    lists: Lists = {
        1: (1, 3, [1, 2, 2, 1, 0]),
        2: (2, 2, [1, 2]),
        3: (3, 0, [1]),
        4: (0, 0, [2, 1]),
        5: (1, 3, []),
    }
    images = {1: [11, 21, 22, 12, 31], 2: [11, 21], 3: [11], 4: [21, 11], 5: []}
    distances = {1: [0.1, 0.3, 0.5, 0.5, 0.6], 2: [0.2, 0.3], 3: [0.3], 4: [0.5, 0.6], 5: []}
    again: Lists = {1: (1, 3, [2, 1, 1]), 2: (2, 2, [1])}
    with medcbir.connect(clone(), data_dir=tmp_path_factory.mktemp("data")) as db:
        sizes = {1: 3, 2: 2}
        store(db, lists, 5, "first", index=6, images=images, distances=distances, classes=sizes)
        store(db, again, 3, "second", index=6, images={1: [21, 11, 12], 2: [11]}, classes=sizes)
        with db._open() as connection:
            connection.execute("SELECT add_classification('knn', 1, 1, '{1,2}', 5, '{}', '{}', 0)")
            arguments = {"classification_id": 1, "run_id": 1, "k": 2, "weights": "uniform"}
            connection.execute(read_query("insert_knn_predictions"), arguments)
            connection.execute("INSERT INTO patient (dataset_id, source_id) VALUES (1, 'p')")
            connection.execute("UPDATE image SET patient_id = 1 WHERE image_id IN (1, 12)")
            connection.execute("UPDATE image SET pixel_sha256 = '\\x01' WHERE image_id IN (2, 21)")
            connection.execute("INSERT INTO image_label VALUES (11, 1), (12, 1), (13, 1), (21, 2), (22, 2)")
        rows = [(0, 2, 1, 1, 2, 1), (0, 2, 1, 2, 2, 2), (1, 2, 1, 1, 2, 0), (1, 2, 1, 2, 2, 1)]
        _ablate(db, pd.DataFrame(rows))
        yield db


IDEAL_2, IDEAL_3 = 1 + 1 / log2(3), 1 + 1 / log2(3) + 1 / 2
"""Gains of two and of three relevant images at ranks 1 to 3."""


def _metric_at_5(name: str, *values: float | None) -> tuple[str, list[tuple[Any, ...]]]:
    """Values of queries 1, 2, 3 and 5 of run 1."""
    at = "" if name in WITHOUT_N else "AND n = 5"
    rows = list(zip((1, 2, 3, 5), values, strict=True))
    return f"SELECT query_id, value FROM metric_{name} WHERE run_id = 1 {at} ORDER BY 1", rows


BY_HAND: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    # Draws of 2 x 2 queries with 3 and 1 matches: 3/4 and 1/4.
    "ablation_precision": (
        "SELECT images_per_class, n, seeds, classes, queries, precision, precision_std FROM ablation_precision",
        [(2, 1, 2, 2, 4, 1 / 2, sqrt(1 / 8))],
    ),
    # Query 1: 11 21 22 and 21 11 12 share 0, 2, 2; query 2: 11 21 and 11 share 1, 1, 1.
    "agreement_query": (
        "SELECT query_id, n, shared, overlap, jaccard, average_overlap FROM agreement_query "
        "WHERE first_run_id = 1 AND second_run_id = 2 ORDER BY 1, 2",
        [
            (1, 1, 0, 0, 0, 0),
            (1, 2, 2, 1, 1, 1 / 2),
            (1, 3, 2, 2 / 3, 2 / 4, (0 + 1 + 2 / 3) / 3),
            (2, 1, 1, 1, 1, 1),
            (2, 2, 1, 1 / 2, 1 / 2, (1 + 1 / 2) / 2),
            (2, 3, 1, 1 / 3, 1 / 2, (1 + 1 / 2 + 1 / 3) / 3),
        ],
    ),
    "agreement": (
        "SELECT queries, overlap, jaccard, average_overlap FROM agreement "
        "WHERE first_run_id = 2 AND second_run_id = 1 AND n = 3",
        [(2, 1 / 2, 1 / 2, (5 / 9 + 11 / 18) / 2)],
    ),
    # Scores of classes 1 and 2: query 1 1/2 1/2, query 2 1/2 1/2, query 3 1 0, query 5 0 0. Class 1: of 4 cases, one at
    # 1 (wrong), two at 1/2 (one right), one at 0 (right): (1/3 + 2/4) / 2. Class 2: two at 1/2 (one right): 1/2. Class
    # 3: all at 0: 1/4. All 12: one at 1 (wrong), four at 1/2 (two right), seven at 0 (two right): (2/5 2 + 4/12 2) / 4.
    "average_precision": (
        "SELECT label_id, positives, auprc FROM average_precision(1) ORDER BY 1",
        [(1, 2, 5 / 12), (2, 1, 1 / 2), (3, 1, 1 / 4), (None, 4, 11 / 30)],
    ),
    "classification_auprc": (
        "SELECT average, label_id, auprc, support, classes, undefined FROM classification_auprc ORDER BY 1, 2",
        [
            ("class", 1, 5 / 12, 2, 1, 0),
            ("class", 2, 1 / 2, 1, 1, 0),
            ("class", 3, 1 / 4, 1, 1, 0),
            ("macro", None, (5 / 12 + 1 / 2 + 1 / 4) / 3, 4, 3, 0),
            ("micro", None, 11 / 30, 4, 3, 0),
        ],
    ),
    # The nearest decides: queries 1, 2 and 3 are taken for class 1, query 5 for nothing.
    "classification_confusion": (
        "SELECT label_id, predicted_label_id, images FROM classification_confusion ORDER BY 1, 2",
        [(1, 1, 1), (1, None, 1), (2, 1, 1), (3, 1, 1)],
    ),
    "classification_f1": (
        "SELECT average, label_id, precision, recall, f1, support, classes FROM classification_f1 ORDER BY 1, 2",
        [
            ("class", 1, 1 / 3, 1 / 2, 2 / 5, 2, 1),
            ("class", 2, 0, 0, 0, 1, 1),
            ("class", 3, 0, 0, 0, 1, 1),
            ("macro", None, 1 / 9, 1 / 6, 2 / 15, 4, 3),
            ("micro", None, 1 / 3, 1 / 4, 2 / 7, 4, 3),
        ],
    ),
    "class_size_precision": (
        "SELECT class, kind, index_images, queries, precision FROM class_size_precision "
        "WHERE run_id = 1 AND n = 1 ORDER BY 1",
        [("c1", "pathology", 3, 2, 1 / 2), ("c2", "pathology", 2, 1, 0), ("c3", "pathology", 0, 1, 0)],
    ),
    # P@5 capped: class 1 2/3 and 0, class 2 1/2, class 3 has none.
    "evaluation": (
        "SELECT average, queries, classes, index_images, undefined, value, std FROM evaluation WHERE run_id = 1 AND "
        "metric = 'precision_capped' AND n = 5 AND facet = 'all' AND NOT possible_only ORDER BY 1",
        [
            ("macro", 4, 3, 5, 1, (1 / 3 + 1 / 2) / 2, sqrt(2) / 3),
            ("micro", 4, 3, 5, 1, 7 / 18, sqrt(((5 / 18) ** 2 + (2 / 18) ** 2 + (7 / 18) ** 2) / 2)),
        ],
    ),
    # Queries 1 and 5 of class 1 are of one dataset.
    "evaluation_cell": (
        "SELECT label_id, dataset_id, possible, queries, defined, mean, squares FROM evaluation_cell "
        "WHERE run_id = 1 AND metric = 'precision' AND n = 5 ORDER BY 1",
        [(1, 2, True, 2, 2, 1 / 5, 2 / 25), (2, 1, True, 1, 1, 1 / 5, 0), (3, 2, False, 1, 1, 0, 0)],
    ),
    "evaluation_query": (
        "SELECT metric, query_id, n, value FROM evaluation_query WHERE run_id = 2 AND query_id = 1 AND metric IN "
        "('precision', 'map_at_r') ORDER BY 1, 3",
        [
            ("map_at_r", 1, None, (1 / 2 + 2 / 3) / 3),
            ("precision", 1, 1, 0),
            ("precision", 1, 2, 1 / 2),
            ("precision", 1, 3, 2 / 3),
        ],
    ),
    # Query 1 loses 11, which is near, and 12, which is of its patient: two of three of its class; what comes after
    # 21 22 31 is not known. Query 2 loses 11, which is near, and 21, which has its pixels.
    "hits_without": (
        "SELECT query_id, relevant, hit_label_ids, left_out, known FROM hits_without(1, true, 0.2) ORDER BY 1",
        [(1, 1, [2, 2, 0], 2, 3), (2, 1, [], 2, 5), (3, 0, [1], 0, 5), (5, 3, [], 0, 5)],
    ),
    # Query 1 loses 12 alone, so that one of two of its class is found, and the fifth rank is not known.
    "evaluation_query_without": (
        "SELECT query_id, n, value FROM evaluation_query_without(1, true, NULL, '{precision_capped}', '{2, 5}') "
        "WHERE query_id < 3 ORDER BY 1, 2",
        [(1, 2, 1 / 2), (1, 5, None), (2, 2, 1 / 2), (2, 5, 1 / 2)],
    ),
    # First hits: 11 three times, 21 once, the four others never; 2/3 on average, variance 11/9, third moment 52/27.
    "hubness": (
        "SELECT index_images, never_retrieved, most_occurrences, mean_occurrences, skewness, bad_share FROM hubness "
        "WHERE run_id = 1 AND k = 1",
        [(6, 4, 3, 2 / 3, 52 / (11 * sqrt(11)), 2 / 4)],
    ),
    "k_occurrence": (
        "SELECT image_id, occurrences, bad_occurrences FROM k_occurrence WHERE run_id = 1 AND k = 2 ORDER BY 1",
        [(11, 4, 2), (21, 3, 1)],
    ),
    # As for average_precision, with K = 5: the scores of query 1 are the same.
    "knn_auprc": ("SELECT knn_auprc(1, 5)", [(11 / 30,)]),
    # Query 1: 0.9 + 0.5 for class 1 and 0.7 + 0.5 for class 2.
    "knn_vote": (
        "SELECT query_id, predicted_label_id, label_ids, scores FROM knn_vote(1, 5, 'similarity') ORDER BY 1",
        [
            (1, 1, [1, 2], [7 / 13, 6 / 13]),
            (2, 1, [1, 2], [8 / 15, 7 / 15]),
            (3, 1, [1], [1]),
            (4, 2, [2, 1], [5 / 9, 4 / 9]),
            (5, None, [], []),
        ],
    ),
    "leaked_hit": (
        "SELECT query_id, rank, image_id, same_patient, same_pixels, near_duplicate FROM leaked_hit(1, 0.2) "
        "ORDER BY 1, 2",
        [
            (1, 1, 11, False, False, True),
            (1, 4, 12, True, False, False),
            (2, 1, 11, False, False, True),
            (2, 2, 21, False, True, False),
        ],
    ),
    "metric_average_precision": _metric_at_5("average_precision", (1 + 2 / 4) / 3, (1 / 2) / 2, None, 0),
    "metric_hit_rate": _metric_at_5("hit_rate", 1, 1, 0, 0),
    "metric_map_at_r": _metric_at_5("map_at_r", 1 / 3, (1 / 2) / 2, None, 0),
    "metric_ndcg": _metric_at_5("ndcg", (1 + 1 / log2(5)) / IDEAL_3, (1 / log2(3)) / IDEAL_2, None, 0),
    "metric_precision": _metric_at_5("precision", 2 / 5, 1 / 5, 0, 0),
    "metric_precision_capped": _metric_at_5("precision_capped", 2 / 3, 1 / 2, None, 0),
    "metric_r_precision": _metric_at_5("r_precision", 1 / 3, 1 / 2, None, 0),
    "metric_reciprocal_rank": _metric_at_5("reciprocal_rank", 1, 1 / 2, 0, 0),
    "metric_vote": _metric_at_5("vote", 1, 0, 0, 0),  # two each, and one each: the nearest decides
    "precision_class": (
        "SELECT label_id, queries, index_images, precision, precision_std, precision_capped, precision_capped_std, "
        "undefined FROM precision_class WHERE run_id = 1 AND n = 5 ORDER BY 1",
        [
            (1, 2, 3, 1 / 5, sqrt(2) / 5, 1 / 3, sqrt(2) / 3, 0),
            (2, 1, 2, 1 / 5, None, 1 / 2, None, 0),
            (3, 1, 0, 0, None, None, None, 1),
        ],
    ),
    "precision_macro": (
        "SELECT classes, queries, precision, precision_std, precision_capped, precision_capped_std, undefined "
        "FROM precision_macro WHERE run_id = 1 AND n = 5",
        [(3, 4, 2 / 15, sqrt(2) / 5, 5 / 12, sqrt(2) / 3, 1)],
    ),
    "precision_micro": (
        "SELECT queries, precision, precision_std, precision_capped, undefined FROM precision_micro "
        "WHERE run_id = 1 AND n = 5",
        [(4, 3 / 20, sqrt((5**2 + 1**2 + 3**2 + 3**2) / 20**2 / 3), 7 / 18, 1)],
    ),
    "precision_query": (
        "SELECT query_id, matches, relevant, precision, precision_capped FROM precision_query "
        "WHERE run_id = 1 AND n = 4 ORDER BY 1",
        [(1, 2, 3, 1 / 2, 2 / 3), (2, 1, 2, 1 / 4, 1 / 2), (3, 0, 0, 0, None), (5, 0, 3, 0, 0)],
    ),
    "query_cutoff": (
        "SELECT n, matches FROM query_cutoff WHERE run_id = 1 AND query_id = 1 ORDER BY 1",
        [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)],
    ),
    "query_ranking": (
        "SELECT query_id, relevant, hit_label_ids, relevant_ranks FROM query_ranking WHERE run_id = 1 ORDER BY 1",
        [(1, 3, [1, 2, 2, 1, 0], [1, 4]), (2, 2, [1, 2], [2]), (3, 0, [1], []), (5, 3, [], [])],
    ),
    # Query 1: own class at (0.1 + 0.5) / 2, class 2 at (0.3 + 0.5) / 2. Query 2: own class at 0.3, class 1 at 0.2.
    "silhouette_query": (
        "SELECT query_id, own_distance, other_label_id, other_distance, silhouette FROM silhouette_query "
        "WHERE run_id = 1 ORDER BY 1",
        [
            (1, 0.3, 2, 0.4, 1 / 4),
            (2, 0.3, 1, 0.2, -1 / 3),
            (3, None, 1, 0.3, None),
            (5, None, None, None, None),
        ],
    ),
    "silhouette_class": (
        "SELECT label_id, queries, defined, own_only, none_own, silhouette, silhouette_std FROM silhouette_class "
        "WHERE run_id = 1 ORDER BY 1",
        [(1, 2, 1, 0, 0, 1 / 4, None), (2, 1, 1, 0, 0, -1 / 3, None), (3, 1, 0, 0, 1, None, None)],
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_it_is_what_a_hand_works_out(example: medcbir.Database, name: str) -> None:
    statement, wanted = BY_HAND[name]
    assert name in statement
    found = example.query(statement)
    assert len(found) == len(wanted)
    for row, expected in zip(found, wanted, strict=True):
        for value, number in zip(row, expected, strict=True):
            assert value == (pytest.approx(number, abs=1e-6) if isinstance(number, int | float | list) else number)
