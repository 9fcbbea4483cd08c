"""DICOM files: the header is read once, pixel data frame by frame straight from the file (PS3.3, PS3.5, PS3.10)."""

import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from medcbir.errors import NotAnImageError, UnreadableImageError
from medcbir.pixels.encapsulation import Fragment, check_codestream, locate_frames
from medcbir.pixels.grey import Linear, Lookup, Rendition, Transform, Window, render, to_eight_bits
from medcbir.pixels.image_file import ImageFile, check_frames, check_size, clean_reasons
from medcbir.types import UInt8Image

logging.getLogger("pydicom").propagate = False  # it logs values of elements, which may name a patient

_PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_WITH_END_OF_IMAGE = {*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes}
_SELF_SHIFTING = {*uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes}
_MOST_INFLATED = 2**30
"""Bytes of a deflated data set, which is held in memory."""
_NO_IMAGES = re.compile(
    r"Encapsulated|.*(SR|PresentationState|Waveform|Report|Document|PlanStorage|StructureSet|RecordStorage)"
)
"""Keywords of SOP classes that are no images, whatever elements their objects have."""
_FLUOROSCOPY = {
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    "1.2.840.10008.5.1.4.1.1.12.3",  # X-Ray Angiographic Bi-Plane Image Storage, retired
}


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Around anything that reads elements: pydicom judges each value on first use, and its warnings quote it."""
    with warnings.catch_warnings(action="ignore"):
        yield


class DicomFile(ImageFile):
    """A DICOM object with pixel data; `header` is all that stands before it."""

    header: pydicom.Dataset

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        """Read the header, check sizes and find the frames; nothing is decoded."""
        self._path = path
        with quiet_pydicom(), clean_reasons("its DICOM header cannot be read"), path.open("rb") as stream:
            self.header, element, self._in_memory = _read_header(stream)
            if element is None or _is_no_image(self.header):
                lacks = "pixel data" if element is None else "an image"
                raise NotAnImageError(f"DICOM object without {lacks} ({_object_name(self.header)})")
            keyword, vr, position, length = element
            self._options = _pixel_options(self.header, keyword, vr)
            check_size(self._options["rows"], self._options["columns"], max_pixels)
            self.n_frames: int = self._options["number_of_frames"]
            check_frames(self.n_frames)
            self._syntax = _transfer_syntax(self.header)
            self._position = position
            with self._open() as source:
                available = source.seek(0, 2)
                source.seek(position)
                if self._syntax.is_encapsulated:
                    if length != _UNDEFINED_LENGTH:
                        raise UnreadableImageError(f"its pixel data is not encapsulated as {self._syntax.name} demands")
                    offsets = _extended_offsets(self.header)
                    self._frames = locate_frames(source, available, self.n_frames, offsets)
                else:
                    self._check_length(min(length, available - position))

    @property
    def _failure(self) -> str:
        return f"its pixel data cannot be decoded ({self._syntax.name})"

    def _open(self) -> BinaryIO:
        return self._path.open("rb") if self._in_memory is None else BytesIO(self._in_memory)

    def _check_length(self, available: int) -> None:
        options = self._options
        samples = options["rows"] * options["columns"] * options["samples_per_pixel"] * self.n_frames
        if options["photometric_interpretation"] == "YBR_FULL_422":
            samples = samples // 3 * 2
        needed = math.ceil(samples * options["bits_allocated"] / 8)
        if available < needed:
            raise UnreadableImageError(f"its pixel data is cut short: {available} of {needed} bytes")

    def _decode(self, index: int) -> UInt8Image:
        with quiet_pydicom():
            stored, interpretation = self._stored(index)
            if stored.ndim == 3:
                if interpretation != "RGB":
                    raise UnreadableImageError(f"colours in {interpretation} are not supported")
                bits = self._options["bits_stored"]
                return to_eight_bits(stored, bits)
            if interpretation == "PALETTE COLOR":
                return _through_palette(stored, self.header)
            if not interpretation.startswith("MONOCHROME"):
                raise UnreadableImageError(f"pixels in {interpretation} are not supported")
            return render(stored, _rendition(self.header, index, interpretation))

    def _stored(self, index: int) -> tuple[npt.NDArray[Any], str]:
        """Stored values of a frame, (rows, columns) or (rows, columns, samples), and what they mean after decoding."""
        decoder = get_decoder(self._syntax)
        options = self._options | {"correct_unused_bits": False}
        with self._open() as source:
            if self._syntax.is_encapsulated:
                codestream = _read(source, self._frames[index])
                if self._syntax in _WITH_END_OF_IMAGE:
                    check_codestream(codestream, options["rows"], options["columns"])
                options |= {"number_of_frames": 1}
                pixels, found = decoder.as_array(encapsulate([codestream], has_bot=False), index=0, **options)
            else:
                source.seek(self._position)
                pixels, found = decoder.as_array(source, index=index, **options)
        if options["pixel_keyword"] == "PixelData" and self._syntax not in _SELF_SHIFTING:
            pixels = _significant_bits(pixels, self.header, options["bits_stored"])
        native = pixels.dtype.newbyteorder("=")
        return np.ascontiguousarray(pixels, dtype=native), str(found["photometric_interpretation"])


def _read_header(
    stream: BinaryIO,
) -> tuple[pydicom.Dataset, tuple[str, str | None, int, int] | None, bytes | None]:
    """The data set up to its pixel data; that element's keyword, VR, position of the value, and length.

    Nothing in a deflated data set (PS3.5 A.5) has a position in the file: it comes third, and positions are within it.
    """
    found: list[tuple[str, str | None, int, int]] = []
    source = stream

    def at_pixel_data(tag: int, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_KEYWORDS:
            found.append((_PIXEL_KEYWORDS[tag], vr, source.tell(), length))
        return tag in _PIXEL_KEYWORDS

    inflated = None
    if stream.read(132)[128:] == b"DICM":
        meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            inflated = _inflate(stream.read())
    if inflated is None:
        stream.seek(0)
        header: pydicom.Dataset = read_partial(stream, stop_when=at_pixel_data, force=True)
    else:
        source = BytesIO(inflated)
        header = read_dataset(source, False, True, stop_when=at_pixel_data)
        header.file_meta = FileMetaDataset(meta)
        header.set_original_encoding(False, True)
    return header, found[0] if found else None, inflated


def _inflate(content: bytes) -> bytes:
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflating.decompress(content, _MOST_INFLATED)
    if inflating.unconsumed_tail:
        raise UnreadableImageError(f"its deflated data set is larger than {_MOST_INFLATED} bytes")
    if not inflating.eof:
        raise UnreadableImageError("its deflated data set is cut short")
    return inflated


def _pixel_options(header: pydicom.Dataset, keyword: str, vr: str | None) -> dict[str, Any]:
    """The Image Pixel module (PS3.3 C.7.6.3) as pydicom's decoders take it; what is missing has its usual value."""
    missing = [name for name in ("Rows", "Columns", "BitsAllocated") if header.get(name) is None]
    if missing:
        raise UnreadableImageError(f"its DICOM header lacks {' and '.join(missing)}")
    samples = int(header.get("SamplesPerPixel") or 1)
    allocated = int(header.BitsAllocated)
    return {
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "samples_per_pixel": samples,
        "number_of_frames": max(1, int(header.get("NumberOfFrames") or 1)),
        "photometric_interpretation": str(
            header.get("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
        ).strip(),
        "planar_configuration": int(header.get("PlanarConfiguration") or 0),
        "bits_allocated": allocated,
        "bits_stored": int(header.get("BitsStored") or allocated),
        "pixel_representation": int(header.get("PixelRepresentation") or 0),
        "pixel_keyword": keyword,
        "pixel_vr": vr or "OW",
    }


def _transfer_syntax(header: pydicom.Dataset) -> uid.UID:
    stated = header.file_meta.get("TransferSyntaxUID")
    if stated:
        if not uid.UID(stated).is_transfer_syntax:
            raise UnreadableImageError("its transfer syntax is not one of the standard")
        return uid.UID(stated)
    implicit, little_endian = header.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian


def _extended_offsets(header: pydicom.Dataset) -> tuple[int, ...]:
    table = header.get("ExtendedOffsetTable") or b""
    return struct.unpack(f"<{len(table) // 8}Q", table[: len(table) // 8 * 8])


def _is_no_image(header: pydicom.Dataset) -> bool:
    stated = header.get("SOPClassUID")
    return bool(stated) and _NO_IMAGES.match(uid.UID(stated).keyword) is not None


def _object_name(header: pydicom.Dataset) -> str:
    stated = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    name = uid.UID(stated).name if stated else stated
    return "of an unknown kind" if name == stated else str(name)


def _read(source: BinaryIO, fragments: list[Fragment]) -> bytes:
    parts = []
    for position, length in fragments:
        source.seek(position)
        parts.append(source.read(length))
    return b"".join(parts)


def _significant_bits(pixels: npt.NDArray[Any], header: pydicom.Dataset, stored: int) -> npt.NDArray[Any]:
    """`pixels` with only the bits that belong to the image (PS3.5 8.1.1): the others may hold overlays or rubbish."""
    container = 8 * pixels.dtype.itemsize
    high = int(header.get("HighBit", stored - 1))
    if stored >= container or not stored - 1 <= high < container:
        return pixels
    return pixels << (container - 1 - high) >> (container - stored)


def _through_palette(stored: npt.NDArray[Any], header: pydicom.Dataset) -> UInt8Image:
    """RGB (rows, columns, 3) of palette indices (PS3.3 C.7.6.3.1.5, .6; segmented tables C.7.9.2)."""
    size, first, bits = (int(part) for part in header.RedPaletteColorLookupTableDescriptor)
    size = size or 2**16
    if "RedPaletteColorLookupTableData" in header:
        big_endian = header.original_encoding[1] is False
        channels = [
            _entries(header[f"{colour}PaletteColorLookupTableData"].value, size, big_endian)
            for colour in ("Red", "Green", "Blue")
        ]
        palette = np.stack(channels, axis=-1)
    else:
        palette = apply_color_lut(np.arange(first, first + size, dtype=np.int32), header)[:, :3]
    if bits > 8 and palette.max() < 256:
        bits = 8  # a common mistake: 8-bit entries declared as 16
    index = np.clip(stored.astype(np.int64) - first, 0, len(palette) - 1)
    return to_eight_bits(palette, bits)[index]


def _entries(data: Any, size: int, big_endian: bool) -> npt.NDArray[np.uint16]:
    """LUT data (size,) from bytes of 8 or 16 bits per entry, or from numbers as pydicom reads them under VR US."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data)).astype(np.uint16)
    kind = "u1" if len(data) in (size, size + size % 2) else ">u2" if big_endian else "<u2"
    return np.frombuffer(data, dtype=kind)[:size].astype(np.uint16)


def _rendition(header: pydicom.Dataset, index: int, interpretation: str) -> Rendition:
    """How to show frame `index`: by its own functional groups, the shared ones, or the data set (PS3.3 C.7.6.16)."""
    modality = _modality(_group(header, index, "PixelValueTransformationSequence"), header)
    stored = int(header.get("BitsStored") or header.BitsAllocated)
    eight_bits = stored <= 8 and not header.get("PixelRepresentation")
    return Rendition(
        modality=modality,
        voi=_voi(_group(header, index, "FrameVOILUTSequence"), header),
        full_range=(0, 2**stored - 1) if eight_bits else None,
        padding=_padding(header),
        inverted=_is_inverted(header, interpretation),
    )


def _is_inverted(header: pydicom.Dataset, interpretation: str) -> bool:
    """Whether low values are white: as Presentation LUT Shape says (PS3.3 C.11.6), or else MONOCHROME1."""
    shape = str(header.get("PresentationLUTShape") or "").strip()
    return shape == "INVERSE" if shape in ("IDENTITY", "INVERSE") else interpretation == "MONOCHROME1"


def _group(header: pydicom.Dataset, index: int, name: str) -> pydicom.Dataset:
    for groups, position in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(groups) or ()
        if position < len(items) and items[position].get(name):
            group: pydicom.Dataset = items[position][name].value[0]
            return group
    return header


def _modality(group: pydicom.Dataset, header: pydicom.Dataset) -> Transform:
    """Modality LUT or rescale; neither for angiography in LOG or DISP, where it leads back to X-ray intensity."""
    if header.get("SOPClassUID") in _FLUOROSCOPY and header.get("PixelIntensityRelationship") in ("LOG", "DISP"):
        return Linear()  # PS3.4 N.2.1.2
    lut = _lookup(group.get("ModalityLUTSequence"), header)
    if lut is not None:
        return Lookup(lut[0], lut[1])
    slope, intercept = _number(group.get("RescaleSlope")), _number(group.get("RescaleIntercept"))
    return Linear(slope or 1.0, intercept or 0.0)  # a slope of 0 would leave nothing to see


def _voi(group: pydicom.Dataset, header: pydicom.Dataset) -> Transform | None:
    """VOI LUT before window, the first of several: they are alternatives (PS3.3 C.11.2.1); None where none is valid."""
    lut = _lookup(group.get("VOILUTSequence"), header)
    if lut is not None:
        first, entries, bits = lut
        return Lookup(first, np.minimum(entries / (2**bits - 1), 1))
    centre, width = _number(group.get("WindowCenter")), _number(group.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"
    stated = str(group.get("VOILUTFunction") or "LINEAR").strip().upper()
    if stated == "SIGMOID":
        function = "SIGMOID"
    elif stated == "LINEAR_EXACT" or width < 1:  # LINEAR has no meaning below 1
        function = "LINEAR_EXACT"
    return Window(centre, width, function)


def _lookup(
    sequence: pydicom.Sequence | None, header: pydicom.Dataset
) -> tuple[int, npt.NDArray[np.float64], int] | None:
    """First input value, entries, and bits per entry of a LUT sequence's first item."""
    if not sequence or "LUTData" not in sequence[0] or "LUTDescriptor" not in sequence[0]:
        return None
    item = sequence[0]
    size, first, bits = (int(part) for part in item.LUTDescriptor)
    size = size or 2**16
    if first + size > 2**16:  # a negative first value, read as if it had no sign
        first -= 2**16
    entries = _entries(item["LUTData"].value, size, header.original_encoding[1] is False)
    return first, entries.astype(np.float64), bits


def _padding(header: pydicom.Dataset) -> tuple[float, float] | None:
    """The first and last stored value that mean no pixel (PS3.3 C.7.5.1.1.2)."""
    value = _stored_number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(header, "PixelPaddingRangeLimit")
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _stored_number(header: pydicom.Dataset, keyword: str) -> float | None:
    """A stored value that the header names, mended where it stands there with the other sign (63536 for -2000)."""
    value = _number(header.get(keyword))
    if value is None:
        return _number(header.get(f"Float{keyword}"))
    beyond = 2.0 ** int(header.get("BitsAllocated") or 16)
    if header.get("PixelRepresentation"):
        return value - beyond if value >= beyond / 2 else value
    return value + beyond if value < 0 else value


def _number(value: Any) -> float | None:
    """The first of one or several numbers; None where there is none or it is not finite."""
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
