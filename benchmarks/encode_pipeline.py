"""Images per second of `medcbir encode` against the bare model fed from memory: same images, batch size and machine.

Three take turns, so that a noisy machine disturbs all: the plain forward pass of the library's model, one batch at a
time, as most code writes it; `Encoder.encode`, which cuts batches to what the processor's memory likes; and the
pipeline from files to rows, start-up of its workers included. The ratios count.

    python benchmarks/encode_pipeline.py [--images 600] [--batch-size 32] [--rounds 3] [--kind png|dicom]
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as medcbir does: the three differ in nothing else
import torch

import medcbir
from medcbir.encoders import get_spec, load_encoder, prepare
from medcbir.encoders.models import build_model
from medcbir.pixels import open_image

SIZE = 512


def picture(number: int) -> np.ndarray:
    """A smooth, noisy 12-bit field (512, 512) uint16, another for each number, that compresses like a CT slice."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.uniform(0, 4000, (24, 24)).astype(np.float32)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse) + rng.normal(0, 20, (SIZE, SIZE)), 0, 4095).astype(np.uint16)


def write(folder: Path, count: int, kind: str) -> list[Path]:
    """Files of one kind: 8-bit PNG, or uncompressed 16-bit DICOM."""
    files = []
    for number in range(count):
        pixels = picture(number)
        file = folder / f"{number:05}.{'png' if kind == 'png' else 'dcm'}"
        if kind == "png":
            Image.fromarray((pixels >> 4).astype(np.uint8)).save(file)
        else:
            data = Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
            data.Modality, data.PatientID = "CT", str(number)
            data.Rows = data.Columns = SIZE
            data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
            data.SamplesPerPixel, data.PixelRepresentation = 1, 0
            data.PhotometricInterpretation = "MONOCHROME2"
            data.WindowCenter, data.WindowWidth = 2000, 4000
            data.PixelData = pixels.tobytes()
            data.save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def main() -> None:
    """Print images per second of both, and their ratio per round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=["png", "dicom"], default="png")
    parser.add_argument("--encoder", default="efficientnet_lite0")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        images = Path(folder) / "images"
        images.mkdir()
        files = write(images, arguments.images, arguments.kind)
        db = medcbir.connect(data_dir=Path(folder) / "data")
        db.ingest(images, encode=False)
        spec = get_spec(arguments.encoder)
        model = load_encoder(spec, weights_dir=db.settings.weights_dir)
        loaded = np.stack([prepare(open_image(file).frame(0), spec.pixels) for file in files])
        plain_model = build_model(spec).eval()  # random weights: speed does not depend on them
        ratios = []
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            with torch.inference_mode():
                for start in range(0, len(loaded), arguments.batch_size):
                    batch = torch.from_numpy(loaded[start : start + arguments.batch_size])
                    plain_model(batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1))
            plain = len(loaded) / (time.perf_counter() - started)
            started = time.perf_counter()
            for start in range(0, len(loaded), arguments.batch_size):
                model.encode(loaded[start : start + arguments.batch_size])
            bare = len(loaded) / (time.perf_counter() - started)
            db.query("WITH gone AS (DELETE FROM embedding RETURNING 1) SELECT count(*) FROM gone")
            report = db.encode(arguments.encoder, batch_size=arguments.batch_size)
            piped = report.encoded / report.seconds
            ratios.append((piped / plain, piped / bare))
            print(
                f"plain model {plain:6.1f} images/s   Encoder.encode {bare:6.1f}   pipeline {piped:6.1f}   ratios "
                f"{ratios[-1][0]:.2f}, {ratios[-1][1]:.2f}   waiting for input {report.waiting:.0%}"
            )
        db.stop()
    what = f"{arguments.kind}, {arguments.encoder}, batch {arguments.batch_size}"
    to_plain, to_bare = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"{what}: median {to_plain:.2f} of the plain model, {to_bare:.2f} of Encoder.encode")


if __name__ == "__main__":
    main()
