"""What the statistics of a whole benchmark cost, and how often intervals of simulated data hold the truth.

    python benchmarks/intervals.py cost [--queries 171753]      intervals and a paired comparison, from arrays
    python benchmarks/intervals.py coverage [--collections 400] by number of patients, classes and evenness

The cost's queries are like the paper's: 185 long-tailed classes, a few images per patient for some, one for most.
"""

import argparse
import resource
import time

import numpy as np

from medcbir.evaluation.bootstrap import Scores, intervals
from medcbir.evaluation.compare import pair_differences

COLUMNS = [("precision", n, definition) for n in (1, 3, 5, 10) for definition in ("paper", "capped")]


def drawn(queries: int) -> Scores:
    """P@N of so many queries, in eight columns."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 186)
    classes = rng.choice(185, queries, p=weights / weights.sum())
    clusters = np.where(rng.random(queries) < 0.12, rng.integers(0, queries // 30, queries), -np.arange(queries))
    matches = rng.binomial(1, rng.beta(2, 2, queries)[:, None], (queries, 10)).cumsum(axis=1)
    values = np.stack([matches[:, n - 1] / n for _, n, _ in COLUMNS], axis=1)
    return Scores(np.arange(queries), clusters, classes, values)


def cost(queries: int) -> None:
    """Print seconds and the largest resident size."""
    scores, other = drawn(queries), drawn(queries)
    other = Scores(other.query_ids, other.clusters, other.classes, np.roll(other.values, 1, axis=0))
    clusters = len(np.unique(scores.clusters))
    print(f"{queries} queries of {clusters} patients, {len(COLUMNS)} columns, 2,000 resamples")
    for what, action in (
        ("intervals of the whole", lambda: intervals(scores)),
        ("intervals of each class", lambda: intervals(scores, scores.classes)),
        ("comparison of a pair, 10,000 sign changes", lambda: pair_differences(("a", scores), ("b", other), COLUMNS)),
    ):
        started = time.perf_counter()
        action()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what:44} {time.perf_counter() - started:7.1f} s   {resident:5.2f} GiB resident at most")


def coverage(collections: int) -> None:
    """Print the share of 95 % intervals that contain the truth."""
    print("patients  classes  tail   rate   micro  macro")
    for clusters, classes, tail, rate in (
        (30, 2, 0.0, 0.6),
        (60, 3, 0.0, 0.6),
        (60, 4, 1.0, 0.5),
        (100, 5, 1.0, 0.8),
        (150, 20, 1.0, 0.6),
        (300, 8, 1.0, 0.6),
        (300, 20, 0.0, 0.3),
        (1000, 20, 1.0, 0.5),
    ):
        rates = np.clip(rate + 0.2 * np.linspace(1, -1, classes), 0.03, 0.97)
        weights = np.arange(1, classes + 1) ** -tail
        weights /= weights.sum()
        truth = np.array([weights @ rates, rates.mean()])
        held = np.zeros(2)
        for number in range(collections):
            rng = np.random.default_rng([clusters, classes, number])
            of = rng.choice(classes, clusters, p=weights)
            sizes = 1 + rng.poisson(rng.gamma(1.0, 3.0, clusters))
            chance = rng.beta(3 * rates[of], 3 * (1 - rates[of]))
            cluster = np.repeat(np.arange(clusters), sizes)
            values = (rng.random(len(cluster)) < chance[cluster]).astype(float)[:, None]
            found = intervals(Scores(cluster, cluster, of[cluster], values), resamples=1000, seed=number)
            held += (found.low[0, :, 0] <= truth) & (truth <= found.high[0, :, 0])
        micro, macro = held / collections
        print(f"{clusters:8} {classes:8} {tail:5.1f} {rate:6.2f} {micro:7.3f} {macro:6.3f}", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "coverage"])
    parser.add_argument("--queries", type=int, default=171_753)
    parser.add_argument("--collections", type=int, default=400)
    arguments = parser.parse_args()
    if arguments.what == "cost":
        cost(arguments.queries)
    else:
        coverage(arguments.collections)


if __name__ == "__main__":
    main()
