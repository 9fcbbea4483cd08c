"""A run by the blocked engine against FAISS IndexFlatIP and against one pgvector statement per query.

Clustered, long-tailed vectors: class k of 185 is drawn with weight 1/k, and an image is its class's direction plus
noise of the same length. The run is timed from the call to the committed hits, with its copy of the vectors in place
(the first run, which fills it, is told apart); FAISS for its search alone, all queries in one call. Rounds alternate,
so that a noisy machine disturbs all alike. What this needs is in the `bench` extra:

    python benchmarks/retrieval.py [--images 200000] [--queries 16384] [--dim 512] [--n 10] [--rounds 3]
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

import medcbir
from medcbir.retrieval import blocked, run
from medcbir.store.connection import open_database
from medcbir.store.vectors import copy_in, unit
from medcbir.types import Filter, Run

CLASSES = 185
STAGES = {
    "who takes part": (run, "_image_set"),
    "the copy of the vectors": (blocked, "cached_vectors"),
    "scoring, two threads": (blocked.Sieve, "sift"),
    "  comparing and collecting": (blocked.Sieve, "_kept"),
    "  tightening": (blocked.Sieve, "_tightened"),
    "  float32 scores": (blocked.Sieve, "_rescored"),
    "distances by pgvector (beside)": (blocked, "distances"),
    "sample by statement (beside)": (blocked, "_by_statement"),
    "storing hits": (run, "_store"),
}


def fill(db: medcbir.Database, images: int, queries: int, dim: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Store the vectors of index and queries; returns both, (images, dim) and (queries, dim)."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(CLASSES, dim)))
    weights = 1 / np.arange(1, CLASSES + 1)
    stored = np.empty((images + queries, dim), np.float32)
    with open_database(db.conninfo, install="if_absent") as connection:
        connection.execute("INSERT INTO dataset (name) VALUES ('benchmark')")
        connection.execute(
            "INSERT INTO image (dataset_id, uri, split) "
            "SELECT 1, g::text, CASE WHEN g <= %s THEN 'train' ELSE 'test' END FROM generate_series(1, %s) AS g",
            (images, images + queries),
        )
        connection.execute("SELECT add_encoder('bench', %s, '{}', '\\x01', is_imported => true)", (dim,))
        for start in range(0, len(stored), 20_000):
            rows = slice(start, min(start + 20_000, len(stored)))
            classes = rng.choice(CLASSES, rows.stop - start, p=weights / weights.sum())
            stored[rows] = unit(centres[classes] + rng.normal(size=(len(classes), dim)) / np.sqrt(dim))
            copy_in(connection, "bench", np.arange(start + 1, rows.stop + 1), stored[rows])
        connection.execute("VACUUM ANALYZE")
    return stored[:images], stored[images:]


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def watch_stages() -> dict[str, float]:
    """Seconds spent in each stage from now on, added up as calls go by."""
    seconds = dict.fromkeys(STAGES, 0.0)

    def watched(stage: str, function: Callable[..., object], *arguments: object, **options: object) -> object:
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[stage] += time.perf_counter() - started

    for stage, (place, name) in STAGES.items():
        original = getattr(place, name)
        if isinstance(place, type):
            setattr(place, name, lambda *given, s=stage, f=original: watched(s, f, *given))
        else:
            setattr(place, name, partial(watched, stage, original))
    return seconds


def main() -> None:
    """Print seconds (median over rounds), the ratios, and where the run's time went (threads added up)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=16_384)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--statements", type=int, default=10, help="Queries answered one by one, each round.")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        db = medcbir.connect(data_dir=Path(folder))
        db.start()
        try:
            index, queries = fill(db, arguments.images, arguments.queries, arguments.dim)
            flat = faiss.IndexFlatIP(arguments.dim)
            flat.add(index)
            del index
            sampled = [arguments.images + 1 + k for k in range(arguments.statements)]

            def retrieve() -> Run:
                return db.retrieve(encoder="bench", n=arguments.n, engine="blocked", exclude_same_patient=False)

            def statements() -> None:
                for image_id in sampled:
                    db.search(image_id=image_id, encoder="bench", n=arguments.n, where=Filter(split="train"))

            cold = timed(retrieve)
            statements()
            stages = watch_stages()
            ours, faiss_, one_by_one = [], [], []
            for _ in range(arguments.rounds):
                ours.append(timed(retrieve))
                faiss_.append(timed(lambda: flat.search(queries, arguments.n)))
                one_by_one.append(timed(statements) * arguments.queries / len(sampled))
            certificate = db.query("SELECT certificate FROM run ORDER BY run_id DESC LIMIT 1")[0][0]
        finally:
            db.close()
            db.stop()

    print(f"{arguments.images} x {arguments.dim}, {arguments.queries} queries, N = {arguments.n}, {certificate}")
    base = statistics.median(ours)
    for what, seconds in {
        "blocked engine, to committed hits": ours,
        "FAISS IndexFlatIP, search alone": faiss_,
        "one pgvector statement per query": one_by_one,
    }.items():
        ratios = sorted(other / own for other, own in zip(seconds, ours, strict=True))
        print(
            f"{what:36} {statistics.median(seconds):9.2f} s   {statistics.median(ratios):7.2f} x "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f} by round)"
        )
    print(f"{'first run, which copies the vectors':36} {cold:9.2f} s   {cold / base:7.2f} x")
    for stage, total in stages.items():
        print(f"  {stage:34} {total / arguments.rounds:9.2f} s")
    print(
        f"largest resident size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, FAISS included"
    )


if __name__ == "__main__":
    main()
