"""Rows per second and peak memory of `medcbir ingest MANIFEST.csv --metadata-only`, for manifests of several lengths.

Each length is one run of the command in a process of its own against an empty embedded database, then a second one that
finds nothing new. Rows per second are told of the whole command, its start included, and of the catalogue alone, as the
command itself reports it. Memory is the peak resident set of that process, which holds no part of the server.

    python benchmarks/manifest.py [--rows 50000 1000000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import medcbir

PROGRAM = """
import resource, sys
from medcbir.cli import main
try:
    main()
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", peak, file=sys.stderr)
"""
REGIONS = ("chest", "brain", "knee", "abd")
FINDINGS = ("nodule", "cyst", "normal", "tear", "effusion")


def write(file: Path, rows: int) -> None:
    """A manifest of `rows` images of a tenth as many patients, 20 classes, and one further column."""
    with file.open("w") as stream:
        stream.write("uri,patient,split,modality,region,finding,view\n")
        for number in range(rows):
            region, finding = REGIONS[number % 4], FINDINGS[number % 5]
            split = ("train", "train", "train", "val", "test")[number // 10 % 5]
            stream.write(f"files/{number % 977:03}/{number:09}.png,p{number // 10},{split},MR,{region},{finding},AP\n")


def ingest(folder: Path) -> tuple[float, float, float]:
    """Seconds of the command, seconds of the catalogue in it, and peak memory in MB."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "ingest", str(folder / "manifest.csv"), "--metadata-only", "--format", "json"],
        env=os.environ | {"MEDCBIR_DATA_DIR": str(folder / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, json.loads(done.stdout)["seconds"], int(done.stderr.splitlines()[-1].split()[1]) / 1024


def main() -> None:
    """Print seconds, rows per second and peak memory of each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 1_000_000])
    for rows in parser.parse_args().rows:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            write(folder / "manifest.csv", rows)
            with medcbir.connect(data_dir=folder / "data") as db:
                db.start()
                for what in ("all new", "again"):
                    seconds, catalogue, peak = ingest(folder)
                    print(
                        f"{rows:9} rows, {what:7}: command {seconds:6.1f} s, {rows / seconds:7.0f} rows/s; "
                        f"catalogue {catalogue:6.1f} s, {rows / catalogue:7.0f} rows/s; peak {peak:4.0f} MB",
                        flush=True,
                    )
                [(stored,)] = db.query("SELECT count(*) FROM image")
                db.stop()
            if stored != rows:
                raise SystemExit(f"{stored} of {rows} rows were stored")


if __name__ == "__main__":
    main()
