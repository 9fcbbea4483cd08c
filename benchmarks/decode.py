"""Files per second that are opened, decoded and catalogued, beside a plain loop in one process over the same files.

The loop calls what a worker calls for each file (read, decode, digest, describe); the pool hands files to its worker
processes; the ingest is the whole of `Database.ingest(..., encode=False)` into an empty embedded database, its workers'
start included. Kinds are PNG of 256 x 256 (as RadImageNet's), DICOM of 512 x 512 x 16 bit, and DICOM of 128 x 128 as
pydicom brings it, the last with so little to decode that it shows what handing over costs. Loop and pool take turns,
and the median of three is told, since other work on the machine comes and goes; so is the processor time that this
process takes to hand a file over.

    python benchmarks/decode.py [--files 2000]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import generate_uid

import medcbir
from medcbir.ingest.open_files import inspect
from medcbir.ingest.pool import WorkerPool
from medcbir.types import ImageRecord

SLICE = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
LIMIT = 10**9
ROUNDS = 3


def scan(side: int) -> np.ndarray:
    """pydicom's CT slice, enlarged to (side, side) int16."""
    pixels = pydicom.dcmread(SLICE).pixel_array
    return np.repeat(np.repeat(pixels, side // 128, 0), side // 128, 1)


def save_png(file: Path, number: int) -> None:
    """A picture that differs from its siblings."""
    pixels = np.clip((scan(256) + number % 997) // 8, 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(file.with_suffix(".png"))


def save_dicom(side: int) -> Callable[[Path, int], None]:
    """Writes instances of (side, side)."""

    def save(file: Path, number: int) -> None:
        dataset = pydicom.dcmread(SLICE)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.Rows = dataset.Columns = side
        dataset.PixelData = (scan(side) + number % 997).astype("<i2").tobytes()
        dataset.save_as(file.with_suffix(".dcm"))

    return save


KINDS = {
    "PNG 256 x 256": save_png,
    "DICOM 512 x 512": save_dicom(512),
    "DICOM 128 x 128": save_dicom(128),
}


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    count = parser.parse_args().files
    print(f"{count} files of each kind, {os.cpu_count()} processors; files/s")
    for kind, save in KINDS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            (folder / "images").mkdir()
            for number in range(count):
                save(folder / "images" / f"{number:05}", number)
            records = [ImageRecord(str(file), "d", file) for file in sorted((folder / "images").iterdir())]

            loops, pools = [], []
            with WorkerPool("inspect", together=8) as pool:
                list(pool.map((record, b"key", LIMIT) for record in records[:64]))  # the processes are up
                for _ in range(ROUNDS):
                    started = time.perf_counter()
                    for record in records:
                        inspect(record, b"key", LIMIT)
                    loops.append(count / (time.perf_counter() - started))
                    started, used = time.perf_counter(), time.process_time()
                    answers = list(pool.map((record, b"key", LIMIT) for record in records))
                    pools.append(count / (time.perf_counter() - started))
                    handing = (time.process_time() - used) / count
            loop, pooled = median(loops), median(pools)

            with medcbir.connect(data_dir=folder / "data") as db:
                db.start()
                started = time.perf_counter()
                report = db.ingest(folder / "images", encode=False)
                ingested = count / (time.perf_counter() - started)
                db.stop()
            if report.added != count or not all(isinstance(answer, list) for _, answer in answers):
                raise SystemExit("some files were not decoded")
            print(
                f"{kind:16} loop {loop:6.0f}   pool {pooled:6.0f} ({pooled / loop:4.2f})   "
                f"ingest {ingested:6.0f} ({ingested / loop:4.2f})   handing over {1e6 * handing:4.0f} us/file",
                flush=True,
            )


if __name__ == "__main__":
    main()
