"""Pixels against dcmtk, an independent implementation of the standard: every file that comes with pydicom, by frame.

What dcmtk is asked for is worked out here from pydicom's reading of the header, not by this package.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import data_store
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from medcbir.errors import NotAnImageError, UnreadableImageError
from medcbir.pixels import open_image
from medcbir.pixels.dicom import DicomFile, quiet_pydicom

PROGRAMS = ("dcmj2pnm", "dcml2pnm", "dcmconv", "dcmdjpeg", "dcmdjpls", "dcmdrle")
pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in PROGRAMS),
    reason="NOT TESTED AGAINST DCMTK: install the system package dcmtk (`make system-packages` as root)",
)

FOLDERS = (Path(data_store.__file__).parent / "data", Path(pydicom.__file__).parent / "data" / "test_files")
JPEG_2000 = "dcmtk has no JPEG 2000"
BITS_32 = "dcmtk refuses 32 bits allocated in colour"
REFUSED = "this package refuses it, as tests/unit/pixels/test_pydicom_files.py says"
LEFT_OUT = {
    "693_J2KI.dcm": JPEG_2000,
    "693_J2KR.dcm": JPEG_2000,
    "GDCMJ2K_TextGBR.dcm": JPEG_2000,
    "J2K_pixelrep_mismatch.dcm": JPEG_2000,
    "JPEG-lossy.dcm": REFUSED,
    "JPEG2000-embedded-sequence-delimiter.dcm": REFUSED,
    "JPEG2000.dcm": JPEG_2000,
    "MR2_J2KI.dcm": JPEG_2000,
    "MR2_J2KR.dcm": JPEG_2000,
    "MR_small_jp2klossless.dcm": JPEG_2000,
    "MR_truncated.dcm": REFUSED,
    "RG1_J2KI.dcm": JPEG_2000,
    "RG1_J2KR.dcm": JPEG_2000,
    "RG3_J2KI.dcm": JPEG_2000,
    "RG3_J2KR.dcm": JPEG_2000,
    "SC_rgb_32bit.dcm": BITS_32,
    "SC_rgb_32bit_2frame.dcm": BITS_32,
    "SC_rgb_expb_32bit.dcm": BITS_32,
    "SC_rgb_expb_32bit_2frame.dcm": BITS_32,
    "SC_rgb_gdcm_KY.dcm": JPEG_2000,
    "SC_rgb_jpeg.dcm": "its pixel data names a length where JPEG must have none: dcmtk stops there",
    "US1_J2KI.dcm": JPEG_2000,
    "US1_J2KR.dcm": JPEG_2000,
    "badVR.dcm": REFUSED,
    "emri_small_jpeg_2k_lossless.dcm": JPEG_2000,
    "emri_small_jpeg_2k_lossless_too_short.dcm": JPEG_2000,
    "examples_jpeg2k.dcm": JPEG_2000,
    "explicit_VR-UN.dcm": JPEG_2000,
    "gdcm-US-ALOKA-16.dcm": "dcmtk reads no palette of which one colour is empty",
    "gdcm-US-ALOKA-16_big.dcm": "dcmtk reads no palette of which one colour is empty",
    "meta_missing_tsyntax.dcm": REFUSED,
    "nested_priv_SQ.dcm": REFUSED,
    "no_meta.dcm": REFUSED,
    "rtdose_expb.dcm": "dcmtk swaps the halves of big-endian words of 32 bits; equal to rtdose.dcm by another test",
    "rtdose_expb_1frame.dcm": "dcmtk swaps the halves of big-endian words of 32 bits",
}
TOLERANCE = {
    "SC_ybr_full_uncompressed.dcm": 2,  # dcmtk rounds the coefficients of YBR to RGB
    "JPGExtended.dcm": 3,  # lossy JPEG: stored values differ by one, below, which its narrow window shows as three
}
"""Levels by which a file may differ; 1 for all others."""


def images() -> Iterator[Path]:
    """Every file that this package shows."""
    for folder in FOLDERS:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            if file.name in LEFT_OUT:
                continue
            try:
                image = open_image(file)
            except (UnreadableImageError, NotAnImageError):
                continue
            if image.header is not None:
                yield file


IMAGES = list(images()) if not pytestmark.args[0] else []
EVERY = pytest.mark.parametrize("file", IMAGES, ids=lambda file: "/".join(file.parts[-2:]))


@pytest.fixture
def dcmtk(tmp_path: Path) -> Callable[..., list[npt.NDArray[np.uint8]]]:
    """Has dcmtk draw a file, without overlays; options as of dcmj2pnm."""
    numbers = count()

    def draw(file: Path, *options: str) -> list[npt.NDArray[np.uint8]]:
        folder = tmp_path / f"dcmtk-{next(numbers)}"
        folder.mkdir()
        with quiet_pydicom():
            meta = pydicom.dcmread(file, stop_before_pixels=True, force=True).file_meta
        program = "dcml2pnm" if meta.get("TransferSyntaxUID") in uid.JPEGLSTransferSyntaxes else "dcmj2pnm"
        done = subprocess.run(
            [program, "-O", "--all-frames", *options, str(file), str(folder / "frame")], capture_output=True, text=True
        )
        drawn = sorted(folder.iterdir(), key=lambda frame: int(frame.name.split(".")[1]))
        assert drawn, done.stderr
        return [np.asarray(Image.open(frame)) for frame in drawn]

    return draw


@EVERY
def test_what_is_shown_is_within_one_grey_level_of_dcmtk(
    file: Path, dcmtk: Callable[..., list[npt.NDArray[np.uint8]]]
) -> None:
    with quiet_pydicom():
        dataset = pydicom.dcmread(file, force=True)
        ours = list(open_image(file).frames())
        options = [window_options(dataset, frame) for frame in range(len(ours))]
        hidden = [padding(dataset, frame, len(ours)) for frame in range(len(ours))]
    if len(set(options)) == 1:
        theirs = dcmtk(file, *options[0])
    else:
        theirs = [dcmtk(file, "--frame-range", str(frame + 1), "1", *asked)[0] for frame, asked in enumerate(options)]
    assert len(ours) == len(theirs)
    for our, their, without in zip(ours, theirs, hidden, strict=True):
        assert our.shape == their.shape
        difference = np.abs(our.astype(int) - their)
        if without is not None:
            difference[without] = 0
        assert difference.max() <= TOLERANCE.get(file.name, 1)


def window_options(dataset: pydicom.Dataset, frame: int) -> tuple[str, ...]:
    """How dcmtk is told to show a frame as docs/datasets.md says that frames are shown."""
    if dataset.get("SamplesPerPixel", 1) > 1 or "PALETTE" in dataset.get("PhotometricInterpretation", ""):
        return ()
    if dataset.get("VOILUTSequence"):
        return ("+Wl", "1")
    if dataset.get("WindowWidth"):
        return ("+Wi", "1")
    for name, at in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(name)
        if groups and groups[at].get("FrameVOILUTSequence"):  # unknown to dcmtk, as is the rescale in such a group
            window = groups[at].FrameVOILUTSequence[0]
            rescale = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
            assert rescale.RescaleSlope == 1
            return ("-M", "+Ww", str(window.WindowCenter - rescale.RescaleIntercept), str(window.WindowWidth))
    if dataset.get("BitsStored") == 1:
        return ("+Wm",)
    if dataset.BitsStored <= 8:
        return ("-W",)
    values = np.sort(frame_of(dataset.pixel_array, frame, dataset.get("NumberOfFrames", 1)).ravel())
    if (value := dataset.get("PixelPaddingValue")) is not None:
        values = values[values != value]
    low, high = (float(values[at]) for at in (len(values) // 1000, len(values) - 1 - len(values) // 1000))
    if low == high:
        low, high = float(values[0]), float(values[-1])
    return ("-M", "+Ww", repr((low + high + 1) / 2), repr(high - low + 1))


def padding(dataset: pydicom.Dataset, frame: int, frames: int) -> npt.NDArray[np.bool_] | None:
    """Where a frame has no pixels: black here, and for dcmtk values like any others."""
    value = dataset.get("PixelPaddingValue")
    return None if value is None else frame_of(dataset.pixel_array, frame, frames) == value


def frame_of(pixels: npt.NDArray[Any], frame: int, frames: int) -> npt.NDArray[Any]:
    return pixels[frame] if int(frames or 1) > 1 else pixels


@EVERY
def test_stored_values_are_those_that_dcmtk_decodes(file: Path, tmp_path: Path) -> None:
    """Exact, other than of lossy JPEG, whose decoders may round differently by one."""
    image = open_image(file)
    assert isinstance(image, DicomFile)
    with quiet_pydicom():
        syntax = pydicom.dcmread(file, stop_before_pixels=True, force=True).file_meta.get("TransferSyntaxUID", "")
    program = (
        "dcmdrle"
        if syntax == uid.RLELossless
        else "dcmdjpls"
        if syntax in uid.JPEGLSTransferSyntaxes
        else "dcmdjpeg"
        if syntax in uid.JPEGTransferSyntaxes
        else "dcmconv"
    )
    plain = tmp_path / "plain.dcm"
    subprocess.run([program, "+te", str(file), str(plain)], check=True, capture_output=True)
    with quiet_pydicom():
        dataset = pydicom.dcmread(plain)
    lossy = 1 if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit) else 0
    samples = dataset.get("SamplesPerPixel", 1)
    for frame in range(image.n_frames):
        stored, meaning = image._stored(frame)
        if samples > 1 and (dataset.PhotometricInterpretation != meaning or program == "dcmdjpeg"):
            continue  # compared as shown, above
        theirs = native(dataset, frame)
        assert stored.shape == theirs.shape
        assert np.abs(stored.astype(np.int64) - theirs).max() <= lossy


def native(dataset: pydicom.Dataset, frame: int) -> npt.NDArray[np.int64]:
    """A frame of a little-endian, uncompressed data set, cut out by hand (PS3.5 8.1.1, annex D.2)."""
    samples, stored, allocated = dataset.get("SamplesPerPixel", 1), dataset.BitsStored, dataset.BitsAllocated
    size = dataset.Rows * dataset.Columns * samples
    if allocated == 1:
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
        return bits[frame * size : (frame + 1) * size].reshape(dataset.Rows, dataset.Columns).astype(np.int64)
    values = np.frombuffer(dataset.PixelData, f"<u{allocated // 8}", size, frame * size * allocated // 8)
    values = values.astype(np.int64) >> (dataset.HighBit + 1 - stored) & (2**stored - 1)
    if dataset.PixelRepresentation:
        values = np.where(values >= 2 ** (stored - 1), values - 2**stored, values)
    if samples == 1:
        return values.reshape(dataset.Rows, dataset.Columns)
    if dataset.PlanarConfiguration:
        return np.moveaxis(values.reshape(samples, dataset.Rows, dataset.Columns), 0, -1)
    return values.reshape(dataset.Rows, dataset.Columns, samples)


def test_the_files_left_out_are_there_and_all_others_are_compared() -> None:
    names = {file.name for folder in FOLDERS for file in folder.rglob("*")}
    assert set(LEFT_OUT) <= names
    assert len(IMAGES) >= 129


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_the_presentation_lut_shape_wins_over_the_photometric_interpretation(
    dcmtk: Callable[..., list[npt.NDArray[np.uint8]]], tmp_path: Path, interpretation: str, shape: str
) -> None:
    dataset = pydicom.dcmread(FOLDERS[1] / "MR_small.dcm")
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = interpretation, shape
    dataset.save_as(tmp_path / "image.dcm")
    [theirs] = dcmtk(tmp_path / "image.dcm", "+Wi", "1")
    assert np.abs(open_image(tmp_path / "image.dcm").frame(0).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("allocated", "stored", "high"), [(8, 8, 7), (8, 6, 5), (16, 10, 9), (16, 12, 11), (16, 12, 15), (16, 16, 15)]
)
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
def test_depths_signs_polarities_and_window_functions(
    dcmtk: Callable[..., list[npt.NDArray[np.uint8]]],
    tmp_path: Path,
    interpretation: str,
    allocated: int,
    stored: int,
    high: int,
    signed: int,
    function: str,
) -> None:
    """All values of a depth, rescaled by 3 and -300, in the first of two windows; dcmtk rescales to integers."""
    lowest = -(2 ** (stored - 1)) if signed else 0
    values = np.linspace(lowest, lowest + 2**stored - 1, 64 * 64).astype(np.int64).reshape(64, 64)
    middle = (lowest + 2 ** (stored - 1)) * 3 - 300
    dataset = pydicom.dcmread(FOLDERS[1] / "MR_small.dcm")
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.Rows = dataset.Columns = 64
    dataset.PhotometricInterpretation = interpretation
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, high
    dataset.PixelRepresentation = signed
    dataset.RescaleSlope, dataset.RescaleIntercept = "3", "-300"
    dataset.WindowCenter = [f"{middle:.1f}", "10"]
    dataset.WindowWidth = [f"{1.5 * 2**stored:.1f}", "4"]
    dataset.VOILUTFunction = function
    bits = (values & (2**stored - 1)) << (high + 1 - stored)
    dataset.PixelData = bits.astype(f"<u{allocated // 8}").tobytes()
    dataset["PixelData"].VR = "OW" if allocated == 16 else "OB"
    file = tmp_path / "image.dcm"
    dataset.save_as(file)
    [theirs] = dcmtk(file, "+Wi", "1", "+Wfs" if function == "SIGMOID" else "+Wfl")
    ours = open_image(file).frame(0)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert np.ptp(ours) > 150
