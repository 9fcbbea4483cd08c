"""Runs inserted directly, so that a test chooses every hit; random ones hold what metrics stumble over."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng

import medcbir
from medcbir.store.runs import QueryHits, copy_query_hits

Lists = dict[int, tuple[int, int, list[int]]]
"""query: label (0: none), relevant, classes of its hits in order"""


def store(
    db: medcbir.Database,
    lists: Lists,
    n: int,
    name: str = "r",
    *,
    index: int = 0,
    images: dict[int, list[int]] | None = None,
    distances: dict[int, list[float]] | None = None,
    classes: dict[int, int] | None = None,
) -> int:
    """Queries are images, of two datasets in turn; hits are `images` and lie at `distances` where these are given.

    `classes` has how many index images each class has; without it, as many as its last query may retrieve.
    """
    with db._open(may_install=True) as connection:
        if not connection.execute("SELECT 1 FROM label").fetchone():
            connection.execute("INSERT INTO dataset (name) VALUES ('a'), ('b')")
            connection.execute("SELECT add_encoder('e', 2, '{}', '\\x01')")
            connection.execute(
                "INSERT INTO label (name, key, modality, region, finding, kind) SELECT 'c' || g, g::text, CASE WHEN "
                "g % 2 = 0 THEN 'CT' ELSE 'MR' END, 'r' || g % 3, 'f', CASE WHEN g > 6 THEN 'anatomy' ELSE 'pathology' "
                "END FROM generate_series(1, 60) AS g"
            )
            connection.execute("INSERT INTO image (dataset_id, uri) SELECT 1 + g % 2, g FROM generate_series(1, 999) g")
        row = connection.execute(
            "INSERT INTO run (name, encoder_id, n, engine, query_filter, index_filter, exclude_same_patient, "
            "query_count, index_count, seconds) VALUES (%s, 1, %s, 'none', '{}', '{}', false, %s, %s, 0) "
            "RETURNING run_id",
            (name, n, len(lists), index),
        ).fetchone()
        assert row is not None
        run_id = int(row[0])
        connection.execute(f"CREATE TABLE run_query_{run_id} PARTITION OF run_query FOR VALUES IN ({run_id})")
        for length in {len(hits) for _, _, hits in lists.values()}:
            queries = [q for q, (_, _, hits) in lists.items() if len(hits) == length]

            def matrix(values: list[list[float]] | list[list[int]], length: int = length) -> np.ndarray:
                return np.array(values, dtype=np.float64).reshape(len(values), length)

            of_hits = matrix([lists[q][2] for q in queries]).astype(np.int64)
            ids = matrix([images[q] for q in queries]).astype(np.int64) if images else of_hits + 10_000
            apart = matrix([distances[q] for q in queries]) if distances else of_hits.astype(np.float64)
            labels, relevant = (np.array([lists[q][at] for q in queries]) for at in (0, 1))
            copy_query_hits(connection, run_id, [QueryHits(np.array(queries), labels, relevant, ids, apart, of_hits)])
        if classes is None:
            classes = Counter({label: r for label, r, _ in lists.values() if label})
        for label, count in classes.items():
            connection.execute("INSERT INTO run_class VALUES (%s, %s, %s)", (run_id, label, count))
    return run_id


INDEX = np.repeat(np.arange(8), [30, 1, 2, 6, 15, 40, 90, 12])
"""Class of each index image, 0 for none; `FIRST` is the id of the first."""
FIRST = 301
ABSENT = 8
"""A class of queries that the index lacks."""


@dataclass(frozen=True, slots=True)
class RandomRun:
    """What `store` takes, all hits among the images of `INDEX`."""

    n: int
    lists: Lists
    images: dict[int, list[int]]
    distances: dict[int, list[float]]

    def store(self, db: medcbir.Database, name: str) -> int:
        sizes = {label: int((label == INDEX).sum()) for label in range(1, 8)}
        return store(
            db,
            self.lists,
            self.n,
            name,
            index=len(INDEX),
            images=self.images,
            distances=self.distances,
            classes=sizes,
        )


def random_run(seed: int, n: int, queries: int = 120) -> RandomRun:
    """Ties, missing hits, queries without hits, unlabelled queries and hits, classes of one, an absent class.

    Classes have fewer and more index images than N; some queries may not retrieve one or two of them, as if those were
    of their patient.
    """
    rng = default_rng(seed)
    lists: Lists = {}
    images, distances = {}, {}
    for query in range(1, queries + 1):
        label = 7 if query == 1 else ABSENT if query <= 6 else int(rng.integers(0, 7))
        kept = int(rng.choice([n, n, n, rng.integers(0, n + 1)])) if query > 8 else n * (query % 2)
        weight = np.where(label == INDEX, 8.0, 1.0)
        hits = rng.choice(len(INDEX), kept, replace=False, p=weight / weight.sum())
        found = int((INDEX[hits] == label).sum()) if label else 0
        possible = int((label == INDEX).sum()) if label else 0
        lists[query] = (label, max(found, possible - int(rng.integers(0, 3))), INDEX[hits].tolist())
        images[query] = (hits + FIRST).tolist()
        distances[query] = np.sort(rng.integers(0, 6, kept) / 4).tolist()
    return RandomRun(n, lists, images, distances)
