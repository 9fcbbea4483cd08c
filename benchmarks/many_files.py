"""A folder of 100,000 tiny files that are no images: seconds and peak memory of `medcbir ingest`, twice.

Each file is opened by a worker and becomes a rejection with its reason. Memory is the peak resident set of the command,
without its workers and the server.

    python benchmarks/many_files.py [--files 100000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from manifest import PROGRAM

import medcbir


def main() -> None:
    """Print a line for each of the two runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        for number in range(count):
            (folder / "files" / f"{number:06}").write_bytes(b"%d\n" % number)
        with medcbir.connect(data_dir=folder / "data") as db:
            db.start()
            for what in ("first", "again"):
                started = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-c", PROGRAM, "ingest", str(folder / "files"), "--no-encode"],
                    env=os.environ | {"MEDCBIR_DATA_DIR": str(folder / "data")},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                seconds = time.perf_counter() - started
                [(rejected,)] = db.query("SELECT count(*) FROM rejected")
                if rejected != count:
                    raise SystemExit(f"{rejected} of {count} files were told: {done.stderr}")
                peak = int(done.stderr.splitlines()[-1].split()[1]) / 1024
                print(f"{count} files, {what}: {seconds:5.1f} s, {count / seconds:6.0f} files/s, peak {peak:4.0f} MB")
            db.stop()


if __name__ == "__main__":
    main()
