"""Files made to hang, to exhaust memory or to mislead: each is one refusal with a reason."""

import gzip
import os
import socket
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    TwelveLeadECGWaveformStorage,
)

from medcbir.errors import MedcbirError, NotAnImageError, UnreadableImageError, printable
from medcbir.pixels import dicom as dicom_room
from medcbir.pixels import image_file, open_image

WriteDicom = Callable[..., Path]
LIMIT = 1_000_000


def refusal(path: Path, frame: int = 0) -> str:
    with pytest.raises((UnreadableImageError, NotAnImageError)) as told:
        open_image(path, max_pixels=LIMIT).frame(frame)
    reason = str(told.value)
    assert reason.isprintable()
    assert str(path.parent) not in reason
    return reason


def png(width: int, height: int, *chunks: tuple[bytes, bytes], rows: bytes | None = None) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    image = zlib.compress(rows if rows is not None else b"\0" * (width + 1) * height)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", image), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000", "GIF", "BMP", "WEBP"])
def test_a_header_of_huge_size_is_refused_before_anything_is_decoded(tmp_path: Path, kind: str) -> None:
    stream = BytesIO()
    Image.new("L", (33, 35)).save(stream, kind)
    content = stream.getvalue()
    for little in (True, False):  # every place where the two sides stand, in either byte order
        for size, form in ((4, "I"), (2, "H")):
            order = "<" if little else ">"
            large = 2**31 - 1 if size == 4 else 2**16 - 1
            for side in (33, 35):
                content = content.replace(struct.pack(f"{order}{form}", side), struct.pack(f"{order}{form}", large))
    file = tmp_path / "huge"
    file.write_bytes(content)
    tracemalloc.start()
    try:
        reason = refusal(file) if kind != "WEBP" else "declares"  # its sides stand in bits; it ends at 16,383
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "declares" in reason or "damaged" in reason
    assert peak < 20e6


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_compressed_text_that_expands_without_end_is_not_inflated(tmp_path: Path, kind: bytes) -> None:
    bomb = zlib.compress(bytes(100_000_000))
    content = {b"zTXt": b"x\0\0" + bomb, b"iCCP": b"x\0\0" + bomb, b"iTXt": b"x\0\1\0\0\0" + bomb}[kind]
    file = tmp_path / "text.png"
    file.write_bytes(png(8, 8, (kind, content)))
    tracemalloc.start()
    try:
        assert "damaged" in refusal(file)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_pixels_beyond_the_declared_size_are_not_inflated(tmp_path: Path) -> None:
    file = tmp_path / "more.png"
    file.write_bytes(png(8, 8, rows=bytes(100_000_000)))
    tracemalloc.start()
    try:
        assert not open_image(file).frame(0).any()
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_tiff_whose_strips_expand_is_bounded_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "bomb.tif"
    Image.new("L", (2000, 1000)).save(file, compression="tiff_adobe_deflate")
    assert file.stat().st_size < 20_000
    assert "more than the limit" in refusal(file)


def test_frames_without_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "MAX_FRAMES", 3)
    pages = [Image.new("L", (4, 4), level) for level in range(5)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert "declares 5 frames, more than the limit of 3" in refusal(tmp_path / "pages.tif")


def test_a_deflated_data_set_is_inflated_up_to_a_limit(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_room, "_MOST_INFLATED", 2**20)
    file = write_dicom(np.zeros((64, 64), np.uint8), syntax=DeflatedExplicitVRLittleEndian)
    assert not open_image(file).frame(0).any()
    meta = 144 + pydicom.dcmread(file).file_meta.FileMetaInformationGroupLength
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = bomb.compress(bytes(200_000_000)) + bomb.flush()
    file.write_bytes(file.read_bytes()[:meta] + content)
    tracemalloc.start()
    try:
        assert "larger than 1048576 bytes" in refusal(file)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("elements", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2**31 - 1}, {"Rows": 0}])
def test_sizes_that_lie_are_refused(write_dicom: WriteDicom, elements: dict[str, int]) -> None:
    assert "declares" in refusal(write_dicom(np.zeros((8, 8), np.uint8), **elements))


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("tag", [b"\x08\x00\x15\x11", b"\x09\x00\x01\x10"])  # a standard and a private sequence
def test_sequences_in_sequences_are_read_or_refused(tmp_path: Path, *, defined: bool, tag: bytes) -> None:
    content = b""
    for _ in range(5000):
        if defined:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
            content = tag + b"SQ\0\0" + struct.pack("<I", len(item)) + item
        else:
            content = tag + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content
    file = tmp_path / "deep.dcm"
    file.write_bytes(bytes(128) + b"DICM" + content)
    assert "RecursionError" in refusal(file) or defined


@pytest.mark.parametrize(
    "stored",
    [
        EncapsulatedPDFStorage,
        BasicTextSRStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        KeyObjectSelectionDocumentStorage,
        RTPlanStorage,
        RTStructureSetStorage,
        TwelveLeadECGWaveformStorage,
    ],
)
def test_the_sop_class_decides_what_is_an_image(write_dicom: WriteDicom, stored: pydicom.uid.UID) -> None:
    """Even of an object that holds pixel data which it should not have."""
    file = write_dicom(np.zeros((8, 8), np.uint8), SOPClassUID=stored)
    with pytest.raises(NotAnImageError, match="without an image") as told:
        open_image(file)
    assert stored.name in str(told.value)
    dataset = pydicom.dcmread(file)
    del dataset.PixelData
    dataset.save_as(file)
    with pytest.raises(NotAnImageError, match="without pixel data") as told:
        open_image(file)
    assert stored.name in str(told.value)


def nifti(*shape: int, offset: float = 352) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *(1,) * (7 - len(shape)))
    struct.pack_into("<2h", header, 70, 2, 8)  # uint8
    struct.pack_into("<8f", header, 76, *(1,) * 8)
    struct.pack_into("<3f", header, 108, offset, 1, 0)
    header[344:348] = b"n+1\0"
    return bytes(header)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (nifti(30_000, 30_000, 1), "more than the limit"),
        (nifti(5, -1, -1), "not supported"),
        (nifti(2, 2, 2, -5), "not supported"),
        (nifti(1, 1, 32767, 32767), "more than the limit of 100000"),
        (nifti(4, 4, 4, offset=3e38), "where none can be"),
        (nifti(4, 4, 4, offset=-8), "where none can be"),
        (nifti(4, 4, 4), "cut short"),
    ],
)
def test_volumes_that_lie_are_refused_packed_and_plain(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "volume.nii").write_bytes(content)
    assert reason in refusal(tmp_path / "volume.nii")
    with gzip.open(tmp_path / "volume.nii.gz", "wb") as packed:
        packed.write(content)
    assert reason in refusal(tmp_path / "volume.nii.gz")


def test_a_packed_volume_is_not_inflated_beyond_its_voxels(tmp_path: Path) -> None:
    file = tmp_path / "bomb.nii.gz"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        packed.write(nifti(4, 4, 4))
        packed.write(bytes(100_000_000))
    tracemalloc.start()
    try:
        assert not open_image(file).frame(3).any()
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s.png"))
    for path in (tmp_path / "pipe.png", tmp_path / "s.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(NotAnImageError, match="is not a regular file"):
            open_image(path)
    listening.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_file_that_may_not_be_read_is_refused_with_that_reason(tmp_path: Path) -> None:
    file = tmp_path / "closed.png"
    file.write_bytes(png(8, 8))
    file.chmod(0)
    os.seteuid(65534)
    try:
        reason = refusal(file)
    finally:
        os.seteuid(0)
    assert reason == "cannot be opened: Permission denied"


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "MR_small.dcm", "examples_jpeg2k.dcm", "JPEGLSNearLossless_08.dcm"])
def test_no_file_that_is_cut_short_is_shown_or_lets_anything_but_a_refusal_out(tmp_path: Path, name: str) -> None:
    content = (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()
    file = tmp_path / name
    for part in range(1, 40):
        file.write_bytes(content[: len(content) * part // 40])
        refusal(file)


def test_flipped_bytes_cost_their_file_alone(tmp_path: Path) -> None:
    """Whatever a header says after damage, it is shown or refused."""
    random = np.random.default_rng(0)
    content = (Path(pydicom.__file__).parent / "data" / "test_files" / "MR_small.dcm").read_bytes()
    file = tmp_path / "damaged.dcm"
    for _ in range(150):
        damaged = bytearray(content)
        for at in random.integers(0, 2000, 8):
            damaged[at] = random.integers(0, 256)
        file.write_bytes(damaged)
        try:
            open_image(file, max_pixels=LIMIT).frame(0)
        except MedcbirError as error:
            assert str(error).isprintable()  # noqa: PT017


def test_a_name_that_controls_a_terminal_is_escaped() -> None:
    assert printable("a\n\x1b[2Jb\x9b\u202e\udcff é") == "a\\n\\x1b[2Jb\\x9b\\u202e\\udcff é"
