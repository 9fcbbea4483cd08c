import zlib

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    RLELossless,
    XRayAngiographicImageStorage,
)

from medcbir.errors import NotAnImageError, UnreadableImageError
from medcbir.pixels import open_image


def test_the_first_of_several_windows_counts(write_dicom, ramp):
    two = write_dicom(ramp, WindowCenter=[1000, 10], WindowWidth=[2000, 5])
    one = write_dicom(ramp, name="one.dcm", WindowCenter=1000, WindowWidth=2000)
    assert np.array_equal(open_image(two).frame(0), open_image(one).frame(0))


@pytest.mark.parametrize(
    ("interpretation", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
    ],
)
def test_the_presentation_lut_shape_decides_what_is_white(write_dicom, ramp, interpretation, shape, inverted):
    said = {"PhotometricInterpretation": interpretation} | ({"PresentationLUTShape": shape} if shape else {})
    shown = open_image(write_dicom(ramp, WindowCenter=2048, WindowWidth=4096, **said)).frame(0)
    assert (shown[0, 0], shown[-1, -1]) == ((255, 0) if inverted else (0, 255))


@pytest.mark.parametrize(("relationship", "rescaled"), [("LIN", True), ("LOG", False), ("DISP", False), (None, True)])
def test_angiography_is_windowed_before_it_is_led_back_to_intensity(write_dicom, ramp, relationship, rescaled):
    said = {"PixelIntensityRelationship": relationship} if relationship else {}
    for stored, applies in ((XRayAngiographicImageStorage, rescaled), (CTImageStorage, True)):
        file = write_dicom(
            ramp,
            SOPClassUID=stored,
            RescaleSlope=1,
            RescaleIntercept=-2048,
            WindowCenter=2048,
            WindowWidth=4096,
            **said,
        )
        shown = open_image(file).frame(0)
        assert shown[32, 0] == (0 if applies else 128)  # a stored value of 2048


def test_a_voi_lut_is_applied_after_the_rescale_also_where_its_first_value_lost_its_sign(write_dicom, ramp):
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 2**16 - 1024, 8]  # -1024 as 16 bits without a sign
    table.LUTData = (np.arange(4096) // 16).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    shown = open_image(
        write_dicom(ramp, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[table], WindowCenter=1, WindowWidth=2)
    ).frame(0)
    assert np.array_equal(shown, ramp // 16)


def test_a_modality_lut_gives_the_values_that_the_window_means(write_dicom, ramp):
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (4095 - np.arange(4096)).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    table.ModalityLUTType = "US"
    file = write_dicom(ramp, ModalityLUTSequence=[table], WindowCenter=2048, WindowWidth=4096)
    plain = open_image(write_dicom(ramp, name="plain.dcm", WindowCenter=2048, WindowWidth=4096)).frame(0)
    assert np.array_equal(open_image(file).frame(0), plain[::-1, ::-1])


def test_padding_is_black_and_no_part_of_a_window_taken_from_the_data(write_dicom, ramp):
    signed = ramp.astype(np.int16)
    signed[:8] = -2000
    plain = open_image(write_dicom(signed[8:], name="plain.dcm")).frame(0)
    for said in ({"PixelPaddingValue": -2000}, {"PixelPaddingValue": -2001, "PixelPaddingRangeLimit": -1500}):
        shown = open_image(write_dicom(signed, **said)).frame(0)
        assert np.array_equal(shown[8:], plain)
        assert not shown[:8].any()
    inverted = open_image(write_dicom(signed, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1")).frame(
        0
    )
    assert not inverted[:8].any()
    file = write_dicom(signed)
    dataset = pydicom.dcmread(file)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)  # some scanners write it so among signed pixels
    dataset.save_as(file)
    assert np.array_equal(open_image(file).frame(0)[8:], plain)


def test_a_missing_preamble_and_suffix_do_not_matter(write_dicom, ramp, tmp_path):
    whole = write_dicom(ramp, WindowCenter=2048, WindowWidth=4096)
    bare = tmp_path / "IM000001"
    bare.write_bytes(whole.read_bytes()[132:])
    assert np.array_equal(open_image(bare).frame(0), open_image(whole).frame(0))


def test_big_endian_and_deflated_files_show_the_same(write_dicom, ramp):
    plain = open_image(write_dicom(ramp)).frame(0)
    assert np.array_equal(open_image(write_dicom(ramp, syntax=ExplicitVRBigEndian)).frame(0), plain)
    deflated = open_image(write_dicom(ramp, syntax=DeflatedExplicitVRLittleEndian))
    assert "PixelData" not in deflated.header
    assert np.array_equal(deflated.frame(0), plain)


def test_bits_beyond_the_stored_ones_are_ignored(write_dicom, ramp):
    clean = write_dicom(ramp, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
    with_overlay = write_dicom(
        ramp | 0xA000, name="overlay.dcm", BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096
    )
    assert np.array_equal(open_image(clean).frame(0), open_image(with_overlay).frame(0))


def test_values_stored_in_the_high_bits_are_shifted_down(write_dicom, ramp):
    low = write_dicom(ramp, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
    high = write_dicom(ramp << 4, name="high.dcm", BitsStored=12, HighBit=15, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(open_image(low).frame(0), open_image(high).frame(0))


def test_signed_values_narrower_than_their_container_keep_their_sign(write_dicom):
    signed = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
    masked = (signed.astype(np.uint16) & 0x0FFF).view(np.int16)  # upper bits not extended
    file = write_dicom(masked, BitsStored=12, HighBit=11, WindowCenter=0, WindowWidth=4096)
    shown = open_image(file).frame(0).ravel()
    assert (np.diff(shown.astype(int)) >= 0).all()
    assert (shown[0], shown[-1]) == (0, 255)


def test_one_bit_frames_that_share_a_byte_come_apart(write_dicom):
    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 5), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    file = write_dicom(bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    frames = list(open_image(file).frames())
    assert np.array_equal(np.stack(frames), bits * 255)


def test_eight_bit_values_without_a_window_stay_as_they_are(write_dicom):
    pixels = np.random.default_rng(0).integers(10, 200, (32, 32), dtype=np.uint8)
    assert np.array_equal(open_image(write_dicom(pixels)).frame(0), pixels)


def test_float_pixel_data_fills_the_grey_scale(write_dicom):
    pixels = np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16)
    file = write_dicom(pixels, FloatPixelData=pixels.tobytes(), PixelData=b"")
    dataset = pydicom.dcmread(file)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.save_as(file)
    assert np.array_equal(open_image(file).frame(0).ravel(), np.arange(256))


def test_each_frame_has_its_own_functional_groups(write_dicom, ramp):
    def group(slope: float, centre: float) -> pydicom.Dataset:
        transformation, voi, groups = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, 0, "US"
        voi.WindowCenter, voi.WindowWidth = centre, 4096
        groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [transformation], [voi]
        return groups

    file = write_dicom(
        np.stack([ramp, ramp, ramp]),
        PerFrameFunctionalGroupsSequence=[group(1, 2048), group(2, 2048), pydicom.Dataset()],
        SharedFunctionalGroupsSequence=[group(1, 0)],
    )
    first, steeper, shared = open_image(file).frames()
    assert first[32, 0] == 128
    assert np.array_equal(steeper.ravel()[:2048], first.ravel()[:4096:2])
    assert shared[0, 0] == 128


def test_a_palette_of_few_entries_and_a_first_value_is_applied(write_dicom):
    table = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, entries in (("Red", [0, 255, 0, 9]), ("Green", [0, 0, 255, 9]), ("Blue", [7, 0, 0, 9]))
        for part, value in (("Descriptor", [4, 2, 8]), ("Data", bytes(entries)))
    }
    pixels = np.array([[0, 2, 3], [4, 5, 200]], np.uint8)
    shown = open_image(write_dicom(pixels, PhotometricInterpretation="PALETTE COLOR", **table)).frame(0)
    assert shown.tolist() == [[[0, 0, 7], [0, 0, 7], [255, 0, 0]], [[0, 255, 0], [9, 9, 9], [9, 9, 9]]]


def test_frames_are_read_one_by_one_from_the_file(write_dicom):
    pixels = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    image = open_image(write_dicom(pixels))
    assert image.n_frames == 40
    assert "PixelData" not in image.header
    assert [int(frame[0, 0]) for frame in image.frames()] == list(range(40))
    assert int(image.frame(17)[0, 0]) == 17
    with pytest.raises(UnreadableImageError, match="40 frames"):
        image.frame(40)


def rle_frame(rows: bytes) -> bytes:
    """One 8-bit frame as a single RLE segment of literal runs (PS3.5 annex G)."""
    runs = b"".join(bytes([len(run) - 1]) + run for run in (rows[at : at + 128] for at in range(0, len(rows), 128)))
    return (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + runs + b"\0" * (len(runs) % 2)


@pytest.mark.parametrize(("fragments", "table"), [(1, True), (1, False), (3, True)])
def test_compressed_frames_are_found_with_and_without_offset_table(write_dicom, fragments, table):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16), dtype=np.uint8)
    data = encapsulate([rle_frame(frame.tobytes()) for frame in pixels], fragments_per_frame=fragments, has_bot=table)
    image = open_image(write_dicom(pixels, syntax=RLELossless, PixelData=data))
    assert np.array_equal(np.stack(list(image.frames())), pixels)


def test_compressed_data_that_ends_early_is_refused(write_dicom, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    data = encapsulate([rle_frame(frame.tobytes()) for frame in pixels])
    whole = write_dicom(pixels, syntax=RLELossless, PixelData=data).read_bytes()
    short = tmp_path / "short.dcm"
    short.write_bytes(whole[:-500])
    with pytest.raises(UnreadableImageError, match="cut short"):
        open_image(short)


def test_more_declared_frames_than_data_are_refused(write_dicom):
    pixels = np.zeros((2, 8, 8), np.uint8)
    for syntax, data in (
        (RLELossless, encapsulate([rle_frame(frame.tobytes()) for frame in pixels])),
        (pydicom.uid.ExplicitVRLittleEndian, pixels.tobytes()),
    ):
        file = write_dicom(pixels, syntax=syntax, PixelData=data, NumberOfFrames=1_000_000_000)
        with pytest.raises(UnreadableImageError, match=r"frames|cut short"):
            open_image(file)


def jpeg(size: int) -> bytes:
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.new("L", (size, size), 99).save(stream, "JPEG")
    return stream.getvalue()


def test_a_codestream_without_its_end_is_refused_not_filled_up(write_dicom):
    content = jpeg(64)
    for data, fine in ((content, True), (content[:-40], False)):
        file = write_dicom(np.zeros((64, 64), np.uint8), syntax=JPEGBaseline8Bit, PixelData=encapsulate([data]))
        if fine:
            assert open_image(file).frame(0)[0, 0] == 99
        else:
            with pytest.raises(UnreadableImageError, match="cut short"):
                open_image(file).frame(0)


def test_a_codestream_larger_than_its_header_says_is_not_decoded(write_dicom):
    file = write_dicom(np.zeros((8, 8), np.uint8), syntax=JPEGBaseline8Bit, PixelData=encapsulate([jpeg(64)]))
    with pytest.raises(UnreadableImageError, match="declares 8 x 8 pixels and its codestream 64 x 64"):
        open_image(file).frame(0)


@pytest.mark.parametrize("elements", [{"Rows": 65535, "Columns": 65535}, {"Rows": 0}])
def test_absurd_sizes_are_refused_from_the_header(write_dicom, elements):
    with pytest.raises(UnreadableImageError, match="declares"):
        open_image(write_dicom(np.zeros((4, 4), np.uint8), **elements))


def test_the_limit_of_pixels_is_the_callers(write_dicom):
    file = write_dicom(np.zeros((10, 10), np.uint8))
    assert open_image(file, max_pixels=100).n_frames == 1
    with pytest.raises(UnreadableImageError, match="limit of 99"):
        open_image(file, max_pixels=99)


def test_objects_that_hold_no_pixels_are_named_by_their_class(write_dicom):
    file = write_dicom(np.zeros((4, 4), np.uint8), SOPClassUID=EncapsulatedPDFStorage)
    dataset = pydicom.dcmread(file)
    del dataset.PixelData
    dataset.save_as(file)
    with pytest.raises(NotAnImageError, match="without pixel data \\(Encapsulated PDF Storage\\)"):
        open_image(file)


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsAllocated": 12},
        {"BitsStored": 40},
        {"SamplesPerPixel": 2},
        {"PhotometricInterpretation": "HSV"},
        {"PixelRepresentation": 7},
    ],
)
def test_impossible_attributes_are_refused(write_dicom, elements):
    with pytest.raises(UnreadableImageError):
        open_image(write_dicom(np.zeros((40, 40), np.uint16), **elements)).frame(0)


def test_no_reason_quotes_the_header(write_dicom):
    file = write_dicom(np.zeros((4, 4), np.uint8), PatientName="DOE^JANE")
    content = file.read_bytes()
    for at in range(200, len(content), 7):
        file.write_bytes(content[:at])
        with pytest.raises((UnreadableImageError, NotAnImageError)) as caught:
            open_image(file).frame(0)
        assert "DOE" not in str(caught.value)
        assert str(file.parent) not in str(caught.value)


def test_sequences_nested_beyond_reason_are_refused(tmp_path):
    item = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    file = tmp_path / "deep.dcm"
    file.write_bytes(bytes(128) + b"DICM" + item * 20_000)
    with pytest.raises(UnreadableImageError, match="RecursionError"):
        open_image(file)


def test_a_damaged_deflated_stream_is_refused(write_dicom, ramp):
    file = write_dicom(ramp, syntax=DeflatedExplicitVRLittleEndian)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises((UnreadableImageError, zlib.error)) as caught:
        open_image(file)
    assert caught.type is UnreadableImageError


def test_unreadable_windows_are_as_good_as_none(write_dicom, ramp):
    plain = open_image(write_dicom(ramp)).frame(0)
    for centre, width in (("", ""), (100, 0), (100, -5)):
        file = write_dicom(ramp, name="odd.dcm", WindowCenter=centre, WindowWidth=width)
        assert np.array_equal(open_image(file).frame(0), plain)
