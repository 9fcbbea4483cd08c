"""How fast and in how much memory files become vectors: the whole of `medcbir encode` beside its model fed from memory.

The bare loop runs the same loaded model in the same way (lanes, batch size, precision) on prepared pixels; what the
pipeline adds is claims, reading, decoding, resizing and writing, on the same cores.
"""

import os
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medcbir.bench.memory import peak_memory
from medcbir.bench.study import Measurement, Study
from medcbir.encoders import EncoderSpec, Pixels, get_spec, load_encoder, prepare
from medcbir.ingest import encode
from medcbir.ingest.forward import Lanes, Model, Prepared
from medcbir.pixels import open_image
from medcbir.store.connection import Connection, open_database
from medcbir.store.encoders import StoredEncoder, add_encoder
from medcbir.types import EncodeReport, Progress, UInt8Image, Vectors

if TYPE_CHECKING:
    from medcbir.api import Database

_SIDE = 512
_BARE, _PIPELINE = "model fed from memory", "medcbir encode"
_IMAGES = {"efficientnet_lite0": (1200, 96), "vit": (64, 16)}
"""Images of a round, and of a quick one. EfficientNet-Lite0 has its weights, ViT-B/16 random ones of a seed."""

_ROWS = ((1_000, 10_000, 100_000), (500, 5_000))
"""Images whose encoding is watched for memory, and those of a quick study."""


def encoding_study(database: "Database", out: Path, *, quick: bool, progress: Progress) -> Study:
    """Images per second from PNG and DICOM files of 512 x 512, and the peak of memory by number of images.

    Images go to `out`; what is catalogued for it in `database` is removed again.
    """
    measurements: list[Measurement] = []
    database.start()
    with open_database(database.conninfo, install="never") as connection:
        for name in _IMAGES:
            spec = get_spec(name)
            model = _model(database, spec)
            for kind in ("PNG", "DICOM"):
                files = _files(out / "images", kind, _IMAGES[name][quick])
                progress.begin(f"encoding {kind} by {name}", "rounds", 1 if quick else 3)
                with (
                    _catalogued(database, connection, files) as dataset,
                    _new_encoder(connection, spec.dim) as encoder,
                ):
                    measurements += _side_by_side(
                        database, connection, spec, model, files, dataset, encoder, 1 if quick else 3, progress
                    )
        for rows in _ROWS[quick]:
            progress.begin(f"encoding {rows:,} images", "images", rows)
            measurements.append(_memory(database, connection, out / "images", rows, progress))
    about = (
        "The share of the model's time: forward, waiting for input, waiting for the database; the rest is the start of "
        "the workers. Memory is the peak of resident memory above what was there before. It does not grow with the "
        "images, since each stage holds a bounded number of them: a few batches are claimed, two are decoded ahead."
    )
    return Study("encoding", "Files to vectors", _BARE, tuple(measurements), about)


def _model(database: "Database", spec: EncoderSpec) -> Model:
    if spec.checkpoint.package is not None:
        return load_encoder(spec, weights_dir=database.settings.weights_dir)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as load_encoder does
    import torch

    from medcbir.encoders.device import torch_device
    from medcbir.encoders.loaders import Encoder
    from medcbir.encoders.models import build_model

    torch.manual_seed(0)
    return Encoder(spec, build_model(spec), torch_device("auto"), "float32", {})


def _side_by_side(
    database: "Database",
    connection: Connection,
    spec: EncoderSpec,
    model: Model,
    files: list[Path],
    dataset: str,
    encoder: StoredEncoder,
    rounds: int,
    progress: Progress,
) -> Iterator[Measurement]:
    """Both ways in turn, round by round, after a first pass that is not counted."""
    loaded = [prepare(open_image(file).frame(0), spec.pixels) for file in files]
    _bare(model, loaded[: 2 * model.batch_size * model.lanes], spec.dim)
    bare: list[float] = []
    reports: list[EncodeReport] = []
    for _ in range(rounds):
        bare.append(_bare(model, loaded, spec.dim))
        connection.execute("DELETE FROM embedding WHERE encoder_id = %s", (encoder.encoder_id,))
        reports.append(_pipeline(database, encoder, model, spec.pixels, dataset))
        if reports[-1].encoded != len(files):
            raise AssertionError(f"{reports[-1].encoded} of {len(files)} images were encoded")
        progress.advance(1)
    case = f"{spec.name}, {_SIDE} x {_SIDE} {files[0].suffix[1:].upper()}, {len(files)} images"
    seconds = [report.seconds for report in reports]
    ratios = [alone / whole for alone, whole in zip(bare, seconds, strict=True)]
    shares = {
        name: statistics.median(getattr(report, name) for report in reports)
        for name in ("forward", "waiting", "writing")
    }
    yield _measured(case, _BARE, bare, len(files))
    yield _measured(case, _PIPELINE, seconds, len(files), ratio=statistics.median(ratios), shares=shares)


def _measured(
    case: str,
    way: str,
    seconds: list[float],
    items: int,
    *,
    ratio: float | None = None,
    shares: dict[str, float] | None = None,
) -> Measurement:
    middle = statistics.median(seconds)
    return Measurement(
        case, way, middle, min(seconds), max(seconds), len(seconds), items, "images", ratio, shares=shares or {}
    )


def _bare(model: Model, pixels: list[UInt8Image], dim: int) -> float:
    """Seconds of the model on prepared pixels in memory, in its lanes."""
    size = model.batch_size
    started = time.perf_counter()
    with Lanes(model, dim, lambda _: None) as lanes:
        for start in range(0, len(pixels), size):
            frames = pixels[start : start + size]
            lanes.put(Prepared(images=[None] * len(frames), frames=frames))  # type: ignore[list-item]
    return time.perf_counter() - started


def _pipeline(
    database: "Database",
    encoder: StoredEncoder,
    model: Model,
    pixels: Pixels,
    dataset: str,
    progress: Progress | None = None,
) -> EncodeReport:
    return encode.fill(
        lambda: open_database(database.conninfo, install="never"),
        encoder,
        lambda: model,
        pixels,
        dataset=dataset,
        max_pixels=database.settings.max_pixels,
        progress=progress,
    )


@contextmanager
def _new_encoder(connection: Connection, dim: int) -> Iterator[StoredEncoder]:
    """An encoder of its own for the study, so that no vector of anyone's is touched."""
    key = secrets.token_bytes(32)
    name = f"bench_{key.hex()[:12]}"
    yield add_encoder(connection, name, dim, {"benchmark": name}, key, checkpoint_sha256=None, versions={})
    connection.execute("SELECT retire_encoder(%s)", (name,))


@contextmanager
def _catalogued(database: "Database", connection: Connection, files: list[Path]) -> Iterator[str]:
    """These files as a dataset of their own, by its name."""
    dataset = f"bench {secrets.token_hex(6)}"
    database.ingest(files[0].parent, name=dataset, encode=False)
    try:
        yield dataset
    finally:
        _forget(connection, dataset)


def _forget(connection: Connection, dataset: str) -> None:
    wanted = "dataset_id = (SELECT dataset_id FROM dataset WHERE name = %s)"
    for table in ("image", "patient", "dataset"):
        connection.execute(f"DELETE FROM {table} WHERE {wanted}".encode(), (dataset,))  # noqa: S608


def _memory(database: "Database", connection: Connection, folder: Path, rows: int, progress: Progress) -> Measurement:
    """Encode so many catalogued images, all of one small file, by a model that costs nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "small.png"
    _save(file, np.arange(256, dtype=np.uint16).reshape(16, 16), "PNG")
    dataset = f"bench {secrets.token_hex(6)}"
    connection.execute("INSERT INTO dataset (name) VALUES (%s)", (dataset,))
    connection.execute(
        "INSERT INTO image (dataset_id, uri, path) SELECT d.dataset_id, g, %s FROM dataset AS d, "
        "generate_series(1, %s) AS g WHERE d.name = %s",
        (str(file), rows, dataset),
    )
    connection.execute("ANALYZE image")
    try:
        with _new_encoder(connection, _Costless.dim) as encoder, peak_memory() as peak:
            before = peak()
            report = _pipeline(database, encoder, _Costless(), _Costless.pixels, dataset, progress)
            after = peak()
    finally:
        _forget(connection, dataset)
    grown = None if before is None or after is None else after - before
    return Measurement(
        f"{rows:,} images of one small file, a model that costs nothing",
        _PIPELINE,
        report.seconds,
        report.seconds,
        report.seconds,
        1,
        report.encoded,
        "images",
        peak_mib=grown,
        note="peak above the memory at the start",
    )


class _Costless:
    """A model whose vectors say which image they are of, and nothing else."""

    dim = 16
    pixels = Pixels(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    lanes = 1
    batch_size = 64

    def encode(self, batch: UInt8Image) -> Vectors:
        """The first of the unit vectors, for every image."""
        vectors: npt.NDArray[np.float32] = np.zeros((len(batch), self.dim), np.float32)
        vectors[:, 0] = 1
        return vectors

    def enter_lane(self) -> None:
        """Nothing to prepare."""

    def leave_lanes(self) -> None:
        """Nothing to give back."""


def _files(folder: Path, kind: str, count: int) -> list[Path]:
    """`count` files of one kind, 8-bit PNG or uncompressed DICOM of 12 bits, drawn where they are not there yet."""
    place = folder / f"{kind.lower()}-{count}"
    place.mkdir(parents=True, exist_ok=True)
    files = [place / f"{number:05}.{'png' if kind == 'PNG' else 'dcm'}" for number in range(count)]
    for number, file in enumerate(files):
        if not file.exists():
            _save(file, picture(number), kind)
    return files


def _save(file: Path, pixels: npt.NDArray[np.uint16], kind: str) -> None:
    if kind == "PNG":
        from PIL import Image

        Image.fromarray((pixels >> 4).astype(np.uint8)).save(file)
        return
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.Modality, data.PatientID = "CT", file.stem
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.WindowCenter, data.WindowWidth = 2000, 4000
    data.PixelData = pixels.tobytes()
    data.save_as(file, enforce_file_format=True)


def picture(number: int) -> npt.NDArray[np.uint16]:
    """A smooth, noisy 12-bit field (512, 512), another for each number, that compresses like a CT slice."""
    from PIL import Image

    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.uniform(0, 4000, (24, 24)).astype(np.float32))
    smooth = np.asarray(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    return np.clip(smooth + rng.normal(0, 20, (_SIDE, _SIDE)), 0, 4095).astype(np.uint16)
