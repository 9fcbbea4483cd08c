"""One query at a time: from memory, by the SQL function, and by FAISS IndexFlatIP in the same process.

The vectors are those of benchmarks/retrieval.py. A search is timed from the call of the Python interface to the hits
with their metadata; rounds alternate. What this needs is in the `bench` extra:

    python benchmarks/interactive.py [--images 200000] [--dim 512] [--n 10] [--rounds 20]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import faiss
from retrieval import fill, timed

import medcbir
from medcbir.types import Filter


def main() -> None:
    """Print the median milliseconds of each way, and the ratios of FAISS's within the same round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        db = medcbir.connect(data_dir=Path(folder))
        db.start()
        try:
            index, queries = fill(db, arguments.images, arguments.rounds, arguments.dim)
            flat = faiss.IndexFlatIP(arguments.dim)
            flat.add(index)
            started = time.perf_counter()
            db.warm("bench")
            cold = time.perf_counter() - started
            started = time.perf_counter()
            db.warm("bench")
            again = time.perf_counter() - started
            hardware = next(iter(db._warmth._indexes.values())).hardware.name
            plain = medcbir.connect(data_dir=Path(folder))
            everything, train = Filter(), Filter(split="train")
            for database in (db, plain):
                database.search(vector=queries[0], encoder="bench", n=arguments.n)
            seconds: dict[str, list[float]] = {}
            for vector in queries:
                for name, action in {
                    "FAISS IndexFlatIP": lambda v: flat.search(v[None], arguments.n),
                    "from memory": lambda v: db.search(vector=v, encoder="bench", n=arguments.n, where=everything),
                    "from memory, one split": lambda v: db.search(
                        vector=v, encoder="bench", n=arguments.n, where=train
                    ),
                    "function top_n": lambda v: plain.search(vector=v, encoder="bench", n=arguments.n),
                }.items():
                    plain._warmth._searches.clear()
                    seconds.setdefault(name, []).append(timed(lambda a=action, v=vector: a(v)))
            plain.close()
        finally:
            db.close()
            db.stop()
    print(f"{arguments.images} x {arguments.dim}, N = {arguments.n}, {hardware}; loaded in {cold:.2f} s, {again:.2f} s")
    for name, each in seconds.items():
        ratio = statistics.median(own / other for own, other in zip(each, seconds["FAISS IndexFlatIP"], strict=True))
        print(f"{name:26} {1000 * statistics.median(each):9.1f} ms {ratio:8.2f} x")


if __name__ == "__main__":
    main()
