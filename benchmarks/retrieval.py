"""The speed studies of retrieval, printed: runs by size and dimension, single queries, layouts; or a run of any size.

In an embedded server of their own, in a temporary folder. What this needs is in the `bench` extra:

    python benchmarks/retrieval.py [--quick]
    python benchmarks/retrieval.py --images 200000 --queries 16384 [--dim 512] [--rounds 3]
    python benchmarks/retrieval.py --single 200000
    python benchmarks/retrieval.py --paper-scale [--images 1322552 --queries 171753]
"""

import argparse
import tempfile
from pathlib import Path

import medcbir
from medcbir.bench.retrieval import layout_study, retrieval_at_scale, retrieval_studies, run_study, single_study
from medcbir.bench.scratch import fill, scratch
from medcbir.bench.study import Measurement, Study
from medcbir.cli.progress import progress


def print_measurements(measurements: tuple[Measurement, ...]) -> None:
    """One line each: median seconds, range, ratio to the baseline's speed, peak memory."""
    for each in measurements:
        ratio = "baseline" if each.ratio is None else f"{each.ratio:.2f} x"
        peak = "" if each.peak_mib is None else f"   {each.peak_mib:,.0f} MiB"
        seconds = f"{each.seconds:10.4f} s ({each.low:.4f} to {each.high:.4f})"
        print(f"{each.case} | {each.way:46} {seconds} {ratio:>10}{peak}   {each.note}", flush=True)


def main() -> None:
    """Run what the options ask for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--images", type=int)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--others", action="store_true", help="Other layouts and HNSW beside the run, too.")
    parser.add_argument("--single", type=int, metavar="IMAGES")
    parser.add_argument("--paper-scale", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with medcbir.connect(data_dir=folder) as db, progress() as shown:
            try:
                studies: list[Study] = []
                if given.paper_scale:
                    size = {name: getattr(given, name) for name in ("images", "queries") if getattr(given, name)}
                    studies.append(retrieval_at_scale(db, Path(folder), progress=shown, **size))
                elif given.single or given.images:
                    with scratch(db, Path(folder)) as own:
                        if given.single:
                            fill(own, given.single, given.dim, 100)
                            studies += [
                                study(own, given.single, given.dim, 30) for study in (single_study, layout_study)
                            ]
                        else:
                            images, queries = given.images, given.queries or 16_384
                            fill(own, images, given.dim, queries)
                            print_measurements(
                                tuple(run_study(own, images, given.dim, queries, given.rounds, others=given.others))
                            )
                else:
                    studies += retrieval_studies(db, Path(folder), quick=given.quick, progress=shown)
                for study in studies:
                    print(f"\n{study.title}")
                    print_measurements(study.measurements)
            finally:
                db.stop()


if __name__ == "__main__":
    main()
