"""Every real file that comes with pydicom: decoded to the right values, or refused with a reason."""

from pathlib import Path

import data_store
import numpy as np
import pydicom
import pytest

from medcbir.errors import NotAnImageError, UnreadableImageError
from medcbir.pixels import open_image

EXTERNAL = Path(data_store.__file__).parent / "data"
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = sorted(file for folder in (EXTERNAL, BUNDLED) for file in folder.rglob("*") if file.is_file())

BROKEN = {
    "JPEG-lossy.dcm": "cannot be decoded",
    "JPEG2000-embedded-sequence-delimiter.dcm": "codestream",
    "MR_truncated.dcm": "cut short: 8130 of 8192 bytes",
    "badVR.dcm": "header cannot be read",
    "meta_missing_tsyntax.dcm": "lacks Rows",
    "nested_priv_SQ.dcm": "lacks Rows",
    "no_meta.dcm": "holds no image",
}
OTHER = {".txt", ".json", ".dump", ".icc", ".gz", ".md"}


def shown(name: str, frame: int = 0) -> np.ndarray:
    folder = EXTERNAL if (EXTERNAL / name).exists() else BUNDLED
    return open_image(folder / name).frame(frame)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_is_decoded_or_refused_with_a_reason(file):
    try:
        frames = list(open_image(file).frames())
    except (UnreadableImageError, NotAnImageError) as error:
        reason = str(error)
        assert reason
        assert "\n" not in reason
        assert str(file.parent) not in reason
        if isinstance(error, UnreadableImageError):
            assert BROKEN[file.name] in reason
        else:
            assert file.suffix in OTHER or "without pixel data" in reason or file.name == "README"
        return
    assert file.name not in BROKEN
    for frame in frames:
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous
        assert frame.shape[2:] in ((), (3,))
        assert frame.any()


TWINS = [
    ("693_UNCR.dcm", "693_J2KR.dcm"),
    ("MR2_UNCR.dcm", "MR2_J2KR.dcm"),
    ("RG1_UNCR.dcm", "RG1_J2KR.dcm"),
    ("RG3_UNCR.dcm", "RG3_J2KR.dcm"),
    ("US1_UNCR.dcm", "US1_J2KR.dcm"),
    ("emri_small.dcm", "emri_small_big_endian.dcm"),
    ("emri_small.dcm", "emri_small_RLE.dcm"),
    ("emri_small.dcm", "emri_small_jpeg_2k_lossless.dcm"),
    ("emri_small.dcm", "emri_small_jpeg_ls_lossless.dcm"),
    ("MR_small.dcm", "MR_small_bigendian.dcm"),
    ("MR_small.dcm", "MR_small_implicit.dcm"),
    ("MR_small.dcm", "MR_small_RLE.dcm"),
    ("MR_small.dcm", "MR_small_jp2klossless.dcm"),
    ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    ("MR_small.dcm", "MR_small_padded.dcm"),
    ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm"),
    ("OBXXXX1A.dcm", "OBXXXX1A_rle.dcm"),
    ("OBXXXX1A_2frame.dcm", "OBXXXX1A_rle_2frame.dcm"),
    ("SC_rgb.dcm", "SC_rgb_expb.dcm"),
    ("SC_rgb.dcm", "SC_rgb_rle.dcm"),
    ("SC_rgb_16bit_2frame.dcm", "SC_rgb_rle_16bit_2frame.dcm"),
    ("SC_rgb_32bit_2frame.dcm", "SC_rgb_rle_32bit_2frame.dcm"),
    ("SC_rgb_32bit.dcm", "SC_rgb_expb_32bit.dcm"),
    ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),
    ("color-px.dcm", "color-pl.dcm"),
    ("gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"),
    ("liver.dcm", "liver_expb.dcm"),
    ("rtdose.dcm", "rtdose_rle.dcm"),
    ("rtdose.dcm", "rtdose_expb.dcm"),
]


@pytest.mark.parametrize(("plain", "twin"), TWINS)
def test_byte_order_planes_and_lossless_compression_do_not_change_a_pixel(plain, twin):
    folder = EXTERNAL if (EXTERNAL / plain).exists() else BUNDLED
    count = open_image(folder / plain).n_frames
    for frame in range(count):
        assert np.array_equal(shown(plain, frame), shown(twin, frame))


@pytest.mark.parametrize(
    ("twin", "tolerance"),
    [
        ("SC_rgb_16bit.dcm", 1),
        ("SC_rgb_32bit.dcm", 1),
        ("SC_ybr_full_uncompressed.dcm", 5),
        ("SC_ybr_full_422_uncompressed.dcm", 5),
        ("SC_rgb_dcmtk_+eb+cr.dcm", 1),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", 5),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", 5),
        ("SC_rgb_jpeg_dcmtk.dcm", 5),
        ("SC_rgb_jls_lossy_line.dcm", 5),
    ],
)
def test_colour_spaces_depths_and_lossy_compression_keep_the_colour_bars(twin, tolerance):
    middles = slice(5, None, 10)  # the bars' borders are blurred where chroma is subsampled
    difference = shown("SC_rgb.dcm")[middles].astype(int) - shown(twin)[middles].astype(int)
    assert np.abs(difference).max() <= tolerance


def test_ybr_with_and_without_subsampled_chroma_agree():
    assert np.array_equal(shown("SC_ybr_full_uncompressed.dcm"), shown("SC_ybr_full_422_uncompressed.dcm"))


def test_the_rows_of_the_colour_bars_have_their_colours():
    bars = shown("SC_rgb.dcm")
    assert bars[5, 50].tolist() == [255, 0, 0]
    assert bars[25, 50].tolist() == [0, 255, 0]
    assert bars[45, 50].tolist() == [0, 0, 255]
    assert bars[95, 50].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("emri_small.dcm", 10),
        ("color3d_jpeg_baseline.dcm", 120),
        ("rtdose.dcm", 15),
        ("liver.dcm", 3),
        ("CT_small.dcm", 1),
    ],
)
def test_frames_are_counted(name, count):
    folder = EXTERNAL if (EXTERNAL / name).exists() else BUNDLED
    assert open_image(folder / name).n_frames == count


def test_a_real_ct_has_its_window():
    dataset = pydicom.dcmread(EXTERNAL / "693_UNCR.dcm")
    values = dataset.pixel_array.astype(np.float64) * 1 - 1024
    wanted = np.clip(((values - 39.5) / 99 + 0.5) * 255, 0, 255)  # centre 40, width 100, LINEAR
    wanted[dataset.pixel_array == -2000] = 0
    assert np.abs(shown("693_UNCR.dcm") - wanted).max() <= 0.5 + 1e-9


def test_radiographs_stored_as_monochrome1_show_bone_white():
    dataset = pydicom.dcmread(EXTERNAL / "RG3_UNCR.dcm")
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    stored = dataset.pixel_array.astype(np.float64)
    wanted = 255 - np.clip(((stored - 549.5) / 1023 + 0.5) * 255, 0, 255)
    assert np.abs(shown("RG3_UNCR.dcm") - wanted).max() <= 0.5 + 1e-9


def test_lookup_tables_for_modality_and_interest_agree_with_pydicom():
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    for name in ("mlut_18.dcm", "vlut_04.dcm"):
        dataset = pydicom.dcmread(EXTERNAL / name)
        levels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
        image = shown(name).astype(np.float64)
        assert np.corrcoef(levels.ravel(), image.ravel())[0, 1] > 0.9999


def test_a_palette_gives_the_colours_that_pydicom_gives():
    from pydicom.pixels import apply_color_lut

    for name in ("OBXXXX1A.dcm", "OT-PAL-8-face.dcm"):
        dataset = pydicom.dcmread(EXTERNAL / name, force=True)
        dataset.file_meta.setdefault("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
        wanted = apply_color_lut(dataset.pixel_array, dataset).astype(np.float64)
        assert np.abs(shown(name) - wanted * 255 / 65535).max() <= 0.5 + 1e-9


def test_overlays_are_not_drawn():
    with_overlay = EXTERNAL / "MR-SIEMENS-DICOM-WithOverlays.dcm"
    dataset = pydicom.dcmread(with_overlay)
    assert dataset[0x6000, 0x3000].value
    levels = np.unique(open_image(with_overlay).frame(0)[dataset.pixel_array == 0])
    assert levels.tolist() == [0]
