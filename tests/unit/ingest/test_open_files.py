"""What a worker makes of one file."""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medcbir.encoders import get_spec, prepare
from medcbir.ingest.open_files import inspect, prepare_frames
from medcbir.pixels import open_image, pixel_sha256
from medcbir.types import Entry, ImageRecord, Rejection

LIMIT = 10_000_000
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
PIXELS = get_spec("efficientnet_lite0").pixels


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A 16-bit PNG that uses 12 of its bits."""
    path = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, 4095, 40 * 30, dtype=np.uint16).reshape(30, 40)).save(path)
    return path


def test_facts_are_digests_and_size_of_what_is_displayed(deep: Path) -> None:
    [entry] = inspect(ImageRecord(uri="u", dataset="d", path=deep), b"key", LIMIT)
    shown = open_image(deep).frame(0)
    assert len(np.unique(shown)) > 200  # decoded in its depth, not cut to 8 bits
    assert entry.facts.file_sha256 == hashlib.sha256(deep.read_bytes()).digest()
    assert entry.facts.pixel_sha256 == pixel_sha256(shown)
    assert (entry.facts.width, entry.facts.height) == (40, 30)


def test_every_frame_of_a_dicom_file_is_an_entry_described_by_its_header() -> None:
    file = TEST_FILES / "examples_ybr_color.dcm"
    header = pydicom.dcmread(file)
    entries = inspect(ImageRecord(uri="u", dataset="d", path=file), b"key", LIMIT)
    assert [entry.record.frame for entry in entries] == list(range(header.NumberOfFrames))
    assert {entry.record.modality for entry in entries} == {header.Modality}
    assert {entry.record.instance_uid for entry in entries} == {header.SOPInstanceUID}
    assert len({entry.record.patient for entry in entries}) == 1
    assert str(header.PatientID) not in str(entries)


def test_one_frame_can_be_meant() -> None:
    record = ImageRecord(uri="u", dataset="d", path=TEST_FILES / "examples_ybr_color.dcm", frame=2)
    entries = inspect(record, b"key", LIMIT)
    assert [entry.record.frame for entry in entries] == [2]
    assert isinstance(entries[0], Entry)


def test_a_frame_that_does_not_exist_is_rejected(deep: Path) -> None:
    answer = inspect(ImageRecord(uri="u", dataset="d", path=deep, frame=3), b"key", LIMIT)
    assert answer == Rejection("u", "d", "has 1 frames, so none of index 3")


@pytest.mark.parametrize(
    ("name", "content", "reason", "kind"),
    [
        ("notes.txt", b"findings: none", "holds no image of a known format", "not_an_image"),
        (
            "broken.png",
            b"\x89PNG\r\n\x1a\nbroken",
            "is a damaged image, or of a kind that is not supported",
            "unreadable",
        ),
        ("none.dcm", b"", "is empty", "unreadable"),
    ],
)
def test_files_that_are_no_images_say_why(tmp_path: Path, name: str, content: bytes, reason: str, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert inspect(ImageRecord("u", "d", tmp_path / name), b"key", LIMIT) == Rejection("u", "d", reason, kind)  # type: ignore[arg-type]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    answer = inspect(ImageRecord("u", "d", tmp_path / "gone.png"), b"key", LIMIT)
    assert answer == Rejection("u", "d", "cannot be opened: No such file or directory")


def test_a_record_without_file_is_an_entry_without_facts() -> None:
    record = ImageRecord("u", "d", patient="p")
    [entry] = inspect(record, b"key", LIMIT)
    assert entry.facts is None
    assert (entry.record.frame, entry.record.patient) == (0, "p")


def test_prepared_frames_are_what_the_encoder_sees(deep: Path) -> None:
    shown = open_image(deep).frame(0)
    [prepared] = prepare_frames(deep, [0], [pixel_sha256(shown)], PIXELS, LIMIT)
    np.testing.assert_array_equal(prepared, prepare(shown, PIXELS))
    assert prepared.shape == (224, 224, 3)


def test_a_file_that_has_changed_since_is_refused_and_one_that_has_gone_says_so(deep: Path) -> None:
    digest = pixel_sha256(open_image(deep).frame(0))
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(deep)
    [reason] = prepare_frames(deep, [0], [digest], PIXELS, LIMIT)
    assert reason == "the file has changed since it was catalogued; run `medcbir ingest` on it again"
    deep.unlink()
    assert (
        prepare_frames(deep, [0, 1], [digest, None], PIXELS, LIMIT)
        == ["cannot be opened: No such file or directory"] * 2
    )
