"""One exact query over 200,000 x 512-d vectors: top_n and image_vectors against bare statements on other layouts.

Ratios within one run, every statement in turn, so that a noisy machine disturbs all alike:

    python benchmarks/exact_query.py [--images 200000] [--dim 512] [--rounds 15]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from psycopg import sql

import medcbir
from medcbir.store.connection import Connection, open_database
from medcbir.store.vectors import copy_in, unit

COLUMNS = ("wide_a", "wide_b", "wide_c", "wide_d")


def fill(connection: Connection, images: int, dim: int) -> None:
    """An encoder with random unit vectors; the same in a bare PLAIN table and in one of four TOASTed columns."""
    connection.execute("INSERT INTO dataset (name) VALUES ('benchmark')")
    numbers = "SELECT 1, g::text FROM generate_series(1, %s) AS g"
    connection.execute(f"INSERT INTO image (dataset_id, uri) {numbers}", (images,))
    connection.execute("SELECT add_encoder('bench', %s, '{}', '\\x01')", (dim,))
    rng = np.random.default_rng(0)
    for start in range(0, images, 20_000):
        ids = np.arange(start + 1, min(start + 20_000, images) + 1)
        copy_in(connection, "bench", ids, unit(rng.normal(size=(len(ids), dim))))
    connection.execute("CREATE TABLE bare (image_id bigint, v vector)")
    connection.execute("ALTER TABLE bare ALTER COLUMN v SET STORAGE PLAIN")
    connection.execute("INSERT INTO bare SELECT image_id, v FROM embedding_bench")
    wide = sql.SQL(", ").join(sql.SQL("{} vector").format(sql.Identifier(name)) for name in COLUMNS)
    connection.execute(sql.SQL("CREATE TABLE wide (image_id bigint, {})").format(wide))
    connection.execute("INSERT INTO wide SELECT image_id, v, v, v, v FROM embedding_bench")
    connection.execute("VACUUM ANALYZE")


def main() -> None:
    """Print milliseconds (median) and ratios to the bare statement on a PLAIN table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    statements = {
        "bare SELECT, PLAIN table": "SELECT image_id FROM bare ORDER BY v <=> %(q)s LIMIT 10",
        "medcbir.top_n": "SELECT image_id FROM top_n(%(q)s, 'bench', 10)",
        "view image_vectors": "SELECT image_id FROM image_vectors ORDER BY bench <=> %(q)s LIMIT 10",
        "bare SELECT, four TOASTed columns": "SELECT image_id FROM wide ORDER BY wide_b <=> %(q)s LIMIT 10",
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        db = medcbir.connect(data_dir=Path(folder))
        db.start()
        with open_database(db.conninfo, install="never") as connection:
            fill(connection, arguments.images, arguments.dim)
            seconds: dict[str, list[float]] = {name: [] for name in statements}
            rng = np.random.default_rng(1)
            for round_ in range(arguments.rounds + 1):
                query = unit(rng.normal(size=(1, arguments.dim)))[0]
                answers = set()
                for name, statement in statements.items():
                    started = time.perf_counter()
                    answers.add(tuple(connection.execute(statement, {"q": query}).fetchall()))
                    if round_:  # the first warms up
                        seconds[name].append(time.perf_counter() - started)
                if len(answers) != 1:
                    raise SystemExit("the layouts disagree")
        db.stop()
    base = statistics.median(seconds["bare SELECT, PLAIN table"])
    print(f"{arguments.images} x {arguments.dim}, {arguments.rounds} rounds, PostgreSQL's own defaults otherwise")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:36} {1e3 * median:8.1f} ms   {median / base:5.2f} x bare")


if __name__ == "__main__":
    main()
