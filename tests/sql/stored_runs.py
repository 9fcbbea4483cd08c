"""Runs inserted directly, so that a test chooses every hit."""

from collections import Counter

import numpy as np

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
) -> int:
    """Queries are images, of two datasets in turn; hits are `images` and lie at `distances` where these are given."""
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

            classes = matrix([lists[q][2] for q in queries]).astype(np.int64)
            ids = matrix([images[q] for q in queries]).astype(np.int64) if images else classes + 10_000
            apart = matrix([distances[q] for q in queries]) if distances else classes.astype(np.float64)
            labels, relevant = (np.array([lists[q][at] for q in queries]) for at in (0, 1))
            copy_query_hits(connection, run_id, [QueryHits(np.array(queries), labels, relevant, ids, apart, classes)])
        for label, count in Counter({label: r for label, r, _ in lists.values() if label}).items():
            connection.execute("INSERT INTO run_class VALUES (%s, %s, %s)", (run_id, label, count))
    return run_id
