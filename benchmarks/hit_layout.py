"""How hits are stored: a row per hit against a row of arrays per query, at one run of the paper's size.

Measures what docs/decisions/0003-hits-as-arrays.md rests on: time to load, size on disk, time of micro P@N for every N,
and time to drop the run.

    python benchmarks/hit_layout.py [--queries 171753] [--n 10]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import medcbir
from medcbir.store.connection import Connection, open_database
from medcbir.store.runs import QueryHits, copy_query_hits

CLASSES = 185
ROWS = "CREATE TABLE hit_row (run_id int, query_id bigint, rank int, image_id bigint, distance float8, label_id int)"
PRECISION_OF_ROWS = """
SELECT n, avg(matches / n::float8) FROM (
    SELECT query_id, rank AS n,
        sum((h.label_id = q.label_id)::int) OVER (PARTITION BY query_id ORDER BY rank) AS matches
    FROM run_query_1 AS q LEFT JOIN hit_row AS h USING (query_id)
) AS t GROUP BY n
"""


def prepare(connection: Connection, queries: int, n: int) -> None:
    """A run row and its classes; queries are images 1 to `queries`."""
    connection.execute("INSERT INTO dataset (name) VALUES ('benchmark')")
    connection.execute(
        "INSERT INTO image (dataset_id, uri) SELECT 1, g::text FROM generate_series(1, %s) AS g", (queries,)
    )
    connection.execute("SELECT add_encoder('bench', 8, '{}', '\\x01')")
    connection.execute(
        "INSERT INTO run (name, encoder_id, n, engine, query_filter, index_filter, exclude_same_patient, query_count, "
        "index_count, seconds) VALUES ('r', 1, %s, 'none', '{}', '{}', false, %s, 0, 0)",
        (n, queries),
    )
    connection.execute("CREATE TABLE run_query_1 PARTITION OF run_query FOR VALUES IN (1)")


def main() -> None:
    """Print seconds and megabytes of both layouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=171_753)
    parser.add_argument("--n", type=int, default=10)
    arguments = parser.parse_args()
    q, n = arguments.queries, arguments.n
    rng = np.random.default_rng(0)
    hits = QueryHits(
        query_ids=np.arange(1, q + 1),
        label_ids=rng.integers(1, CLASSES + 1, q),
        relevant=np.full(q, 1000),
        hit_ids=rng.integers(1, 1_300_000, (q, n)),
        hit_distances=rng.random((q, n)),
        hit_label_ids=rng.integers(1, CLASSES + 1, (q, n)),
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        db = medcbir.connect(data_dir=Path(folder))
        db.start()
        with open_database(db.conninfo, install="never") as connection:
            prepare(connection, q, n)

            def timed(what: str, action: Callable[[], object]) -> None:
                started = time.perf_counter()
                action()
                print(f"{what:48} {time.perf_counter() - started:8.2f} s")

            def size(table: str) -> None:
                row = connection.execute("SELECT pg_total_relation_size(%s::regclass) / 1e6", (table,)).fetchone()
                print(f"{f'size of {table}':48} {row[0] if row else 0:8.1f} MB")

            timed("arrays: load (binary COPY by numpy)", lambda: copy_query_hits(connection, 1, [hits]))
            size("run_query_1")
            connection.execute(ROWS)
            timed(
                "rows: load (in the server, so no client at all)",
                lambda: connection.execute(
                    "INSERT INTO hit_row SELECT 1, q.query_id, h.rank, h.image_id, h.distance, h.label_id "
                    "FROM run_query_1 AS q, unnest(hit_ids, hit_distances, hit_label_ids) "
                    "WITH ORDINALITY AS h (image_id, distance, label_id, rank)"
                ),
            )
            timed(
                "rows: primary key", lambda: connection.execute("ALTER TABLE hit_row ADD PRIMARY KEY (query_id, rank)")
            )
            size("hit_row")
            connection.execute("VACUUM ANALYZE")
            timed("arrays: micro P@N, every N, both definitions", lambda: connection.execute("TABLE precision_micro"))
            timed("rows: micro P@N, every N, one definition", lambda: connection.execute(PRECISION_OF_ROWS))
            timed("arrays: drop the run", lambda: connection.execute("SELECT drop_run(1)"))
        db.stop()


if __name__ == "__main__":
    main()
