"""How fast and in how much memory files become vectors: the whole of `medcbir encode` beside its model fed from memory.

The same loaded model gets the same prepared pixels from memory in two ways: by a plain loop over batches, with torch's
own threads, and in the lanes in which `medcbir encode` runs it. What the pipeline adds is claims, reading, decoding,
resizing and writing, on the same cores.
"""

import os
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_LOOP, _LANES, _PIPELINE = "loop over the model", "lanes fed from memory", "medcbir encode"
_ENCODERS = ("efficientnet_lite0", "vit")
"""EfficientNet-Lite0 has its weights, ViT-B/16 random ones of a seed."""

_SECONDS, _ROUNDS = (30.0, 2.0), (3, 1)
"""Of the model alone in a round, and rounds; those of a quick study come second."""

_DRAWN = 256
"""Different pictures at most; where a round has more images, each is there under several names."""

_ROWS = ((1_000, 10_000, 100_000), (500, 5_000))
"""Images whose encoding is watched for memory, and those of a quick study."""


def encoding_study(database: "Database", out: Path, *, quick: bool, progress: Progress) -> Study:
    """Images per second from PNG and DICOM files of 512 x 512, and the peak of memory by number of images.

    Images go to `out`; what is catalogued for it in `database` is removed again.
    """
    measurements: list[Measurement] = []
    database.start()
    with open_database(database.conninfo, install="never") as connection:
        for name in _ENCODERS:
            spec = get_spec(name)
            model = _model(database, spec)
            images = max(8, int(_SECONDS[quick] * _rate(model, spec.pixels.size)))
            for kind in ("PNG", "DICOM"):
                files = _files(out / "images", kind, images)
                progress.begin(f"encoding {kind} by {name}", "rounds", _ROUNDS[quick])
                with (
                    _catalogued(database, connection, files) as dataset,
                    _new_encoder(connection, spec.dim) as encoder,
                ):
                    measurements += _side_by_side(
                        database, connection, spec, model, files, dataset, encoder, _ROUNDS[quick], progress
                    )
        for rows in _ROWS[quick]:
            progress.begin(f"encoding {rows:,} images", "images", rows)
            measurements.append(_memory(database, connection, out / "images", rows, progress))
    about = (
        "Of `medcbir encode`, times are without the start (workers, first images), which is told beside them. Shares "
        "are of the model's time: forward, waiting for input, waiting for the database. Memory is the peak of resident "
        "memory above what was there before. It does not grow with the images, since each stage holds a bounded number "
        "of them: a few batches are claimed, two are decoded ahead."
    )
    return Study("encoding", "Files to vectors", _LOOP, tuple(measurements), about)


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


@dataclass(frozen=True, slots=True)
class _Round:
    """Seconds of the model alone, by a loop and in its lanes, beside what `medcbir encode` reports of the same images.

    Processor time is in milliseconds per image: of the lanes alone, then of the command and of its workers.
    """

    loop: float
    lanes: float
    report: EncodeReport
    of_lanes: float
    of_command: float
    of_workers: float

    @property
    def encode(self) -> float:
        """Seconds of `medcbir encode` after its start."""
        return self.report.seconds * (1 - self.report.starting)


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
    """All ways in turn, round by round, after a first pass that is not counted."""
    drawn = [prepare(open_image(file).frame(0), spec.pixels) for file in files[:_DRAWN]]
    loaded = list(islice(cycle(drawn), len(files)))
    _lanes(model, loaded[: 2 * model.batch_size * model.lanes], spec.dim)
    done: list[_Round] = []
    for _ in range(rounds):
        loop = _loop(model, loaded)
        before = _processor_time()
        lanes = _lanes(model, loaded, spec.dim)
        between = _processor_time()
        connection.execute("DELETE FROM embedding WHERE encoder_id = %s", (encoder.encoder_id,))
        report = _pipeline(database, encoder, model, spec.pixels, dataset)
        after = _processor_time()
        if report.encoded != len(files):
            raise AssertionError(f"{report.encoded} of {len(files)} images were encoded")
        spent = (between[0] - before[0], after[0] - between[0], after[1] - between[1])
        done.append(_Round(loop, lanes, report, *(1000 * each / len(files) for each in spent)))
        progress.advance(1)
    case = f"{spec.name}, {_SIDE} x {_SIDE} {files[0].suffix[1:].upper()}, {len(files)} images"
    yield from _measured(case, done, len(files))


def _measured(case: str, rounds: list[_Round], items: int) -> Iterator[Measurement]:
    """A line for each way, with its times the loop's speed; the last says how it was spent."""

    def middle(of: Callable[[_Round], float]) -> float:
        return statistics.median(map(of, rounds))

    def line(way: str, seconds: Callable[[_Round], float], **told: Any) -> Measurement:
        each = [seconds(one) for one in rounds]
        return Measurement(case, way, statistics.median(each), min(each), max(each), len(each), items, "images", **told)

    def share(stage: str) -> float:
        return middle(lambda one: getattr(one.report, stage) / (1 - one.report.starting))

    yield line(_LOOP, lambda one: one.loop)
    yield line(_LANES, lambda one: one.lanes, ratio=middle(lambda one: one.loop / one.lanes))
    yield line(
        _PIPELINE,
        lambda one: one.encode,
        ratio=middle(lambda one: one.loop / one.encode),
        shares={stage: share(stage) for stage in ("forward", "waiting", "writing")},
        note=(
            f"{middle(lambda one: one.lanes / one.encode):.2f} times the lanes; its start took "
            f"{middle(lambda one: one.report.seconds - one.encode):.1f} s; processor time of an image: "
            f"{middle(lambda one: one.of_command):.1f} ms in the command, of {middle(lambda one: one.of_lanes):.1f} in "
            f"the lanes alone, and {middle(lambda one: one.of_workers):.1f} in the workers, start included"
        ),
    )


def _processor_time() -> tuple[float, float]:
    """Seconds of this process, and of those that it has started and that have ended."""
    now = os.times()
    return now.user + now.system, now.children_user + now.children_system


def _rate(model: Model, side: int) -> float:
    """Images per second by a plain loop, roughly."""
    pixels = list(np.random.default_rng(0).integers(0, 256, (2 * model.batch_size, side, side, 3), np.uint8))
    _loop(model, pixels)
    return len(pixels) / _loop(model, pixels)


def _loop(model: Model, pixels: list[UInt8Image]) -> float:
    """Seconds of the model on prepared pixels in memory, batch after batch."""
    size = model.batch_size
    started = time.perf_counter()
    for start in range(0, len(pixels), size):
        model.encode(np.stack(pixels[start : start + size]))
    return time.perf_counter() - started


def _lanes(model: Model, pixels: list[UInt8Image], dim: int) -> float:
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
    report = encode.fill(
        lambda: open_database(database.conninfo, install="never"),
        encoder,
        lambda: model,
        pixels,
        dataset=dataset,
        max_pixels=database.settings.max_pixels,
        progress=progress,
    )
    if report.interrupted:
        raise KeyboardInterrupt
    return report


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
    try:
        if database.ingest(files[0].parent, name=dataset, encode=False).interrupted:
            raise KeyboardInterrupt
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

    def enter_lanes(self) -> None:
        """Nothing to prepare."""

    def enter_lane(self) -> None:
        """Nor in a thread."""

    def leave_lanes(self) -> None:
        """Nothing to give back."""


def _files(folder: Path, kind: str, count: int) -> list[Path]:
    """`count` files of one kind, 8-bit PNG or uncompressed DICOM of 12 bits, drawn where they are not there yet."""
    suffix = "png" if kind == "PNG" else "dcm"
    place = folder / f"{suffix}-{count}"
    place.mkdir(parents=True, exist_ok=True)
    files = [place / f"{number:05}.{suffix}" for number in range(count)]
    for number, file in enumerate(files):
        if number < _DRAWN and not file.exists():
            _save(file, picture(number), kind)
        elif not file.exists():
            file.hardlink_to(files[number % _DRAWN])
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
