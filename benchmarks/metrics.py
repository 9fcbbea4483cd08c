"""Time of a run's metrics: P@N micro, macro and per class by both definitions, every other metric, and whole commands.

The run is synthetic and long-tailed, inserted directly: no vector is read by a metric. Every eighth image is of a
patient with 30, such a query's first hit is of its patient, and a tenth of the queries has near duplicates.

    python benchmarks/metrics.py [--queries 171753] [--n 10] [--index 1500000] [--rounds 3]
"""

import argparse
import resource
import statistics
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np

import medcbir
from medcbir.store.connection import Connection, open_database
from medcbir.store.runs import QueryHits, copy_query_hits

CLASSES = 185
COMMANDS = (
    ("evaluate", "bench"),
    ("evaluate", "bench", "--by", "class"),
    ("evaluate", "bench", "--metric", "all"),
    ("compare", "--leakage", "bench"),
    ("compare", "--leakage", "bench", "--metric", "all", "--by", "dataset"),
    ("neighbours", "silhouette", "bench"),
    ("neighbours", "hubness", "bench"),
    ("neighbours", "hubs", "bench"),
)


def insert_run(connection: Connection, queries: int, n: int, index: int) -> None:
    """A run of `queries` x `n` hits; images are 1 to `index`, the first of them queries."""
    rng = np.random.default_rng(0)
    connection.execute("INSERT INTO dataset (name) SELECT 'dataset ' || g FROM generate_series(1, 4) AS g")
    connection.execute(
        "INSERT INTO label (name, key, modality, region, finding, kind) SELECT 'class ' || g, g::text, 'M' || g %% 4, "
        "'R' || g %% 12, 'F' || g, CASE WHEN g %% 8 = 0 THEN 'anatomy' ELSE 'pathology' END "
        "FROM generate_series(1, %s) AS g",
        (CLASSES,),
    )
    patients = index // 240
    connection.execute(
        "INSERT INTO patient (dataset_id, source_id) SELECT 1, g::text FROM generate_series(1, %s) AS g", (patients,)
    )
    connection.execute(
        "INSERT INTO image (dataset_id, uri, patient_id) SELECT 1 + g %% 4, g::text, "
        "CASE WHEN g %% 8 = 0 THEN 1 + g / 8 %% %s END FROM generate_series(1, %s) AS g",
        (patients, index),
    )
    connection.execute(
        "INSERT INTO image_label SELECT g, 1 + g %% %s FROM generate_series(1, %s) AS g", (CLASSES, index)
    )
    connection.execute("SELECT add_encoder('bench', 8, '{}', '\\x01')")
    connection.execute(
        "INSERT INTO run (name, encoder_id, n, engine, query_filter, index_filter, exclude_same_patient, query_count, "
        "index_count, seconds) VALUES ('bench', 1, %s, 'none', '{}', '{}', false, %s, %s, 0)",
        (n, queries, index),
    )
    share = 1 / np.arange(1, CLASSES + 1)
    labels = rng.choice(np.arange(1, CLASSES + 1), queries, p=share / share.sum())
    same = rng.random((queries, n)) < 0.55
    others = rng.choice(np.arange(1, CLASSES + 1), (queries, n), p=share / share.sum())
    hit_ids = rng.integers(1, index, (queries, n))
    known = np.arange(8, queries + 1, 8)
    hit_ids[known - 1, 0] = (known + 8 * patients) % index
    connection.execute("CREATE TABLE run_query_1 PARTITION OF run_query FOR VALUES IN (1)")
    hits = QueryHits(
        query_ids=np.arange(1, queries + 1),
        label_ids=labels,
        relevant=np.maximum(share / share.sum() * 1_300_000 // 50, 1).astype(np.int64)[labels - 1],
        hit_ids=hit_ids,
        hit_distances=np.sort(rng.random((queries, n)), axis=1),
        hit_label_ids=np.where(same, labels[:, None], others),
    )
    copy_query_hits(connection, 1, [hits])
    connection.execute("VACUUM ANALYZE")


def main() -> None:
    """Print the seconds of each call, median and range of the rounds, and the client's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=171_753)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--index", type=int, default=1_500_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    every = list(range(1, arguments.n + 1))
    calls = {
        "P@N micro and macro, N of 1 3 5 10": {"intervals": False},
        "P@N per class, N of 1 3 5 10": {"by": ["class"], "intervals": False},
        "P@N micro and macro, every N": {"n": every, "intervals": False},
        "P@N per class, every N": {"by": ["class"], "n": every, "intervals": False},
        "P@N by modality and kind": {"by": ["modality", "kind"], "intervals": False},
        "all metrics, micro and macro": {"metric": ["all"], "intervals": False},
        "P@N micro and macro with intervals": {},
        "P@N per class with intervals": {"by": ["class"]},
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        db = medcbir.connect(data_dir=Path(folder))
        db.start()
        try:
            with open_database(db.conninfo, install="never") as connection:
                insert_run(connection, arguments.queries, arguments.n, arguments.index)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            seconds: dict[str, list[float]] = {what: [] for what in calls}
            for _ in range(arguments.rounds):
                for what, options in calls.items():
                    started = time.perf_counter()
                    db.evaluate("bench", **options)
                    seconds[what].append(time.perf_counter() - started)
            for what, taken in seconds.items():
                print(f"{what:40} {statistics.median(taken):7.2f} s ({min(taken):.2f} to {max(taken):.2f})")
            program = Path(sysconfig.get_path("scripts")) / "medcbir"
            for command in COMMANDS:
                taken = []
                for _ in range(arguments.rounds):
                    started = time.perf_counter()
                    subprocess.run(
                        [program, *command, "--data-dir", folder], check=True, capture_output=True, timeout=3600
                    )
                    taken.append(time.perf_counter() - started)
                what = f"medcbir {' '.join(command)}"
                print(f"{what:60} {statistics.median(taken):7.2f} s ({min(taken):.2f} to {max(taken):.2f})", flush=True)
            largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            print(f"memory of a command: {largest / 1e3:.0f} MB at most")
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(f"client memory: {after / 1e3:.0f} MB at most, {before / 1e3:.0f} MB of it for making the run")
        finally:
            db.stop()


if __name__ == "__main__":
    main()
