"""Which reader a file needs: told by its first bytes, since names lie and DICOM files often have none."""

import os
import stat
import struct
from pathlib import Path

from PIL import UnidentifiedImageError

from medcbir.errors import NotAnImageError, UnreadableImageError
from medcbir.pixels.image_file import MAX_PIXELS, ImageFile
from medcbir.pixels.nifti import NiftiFile, looks_like_nifti
from medcbir.pixels.raster import RasterFile

_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"\0\0\0\x0cjP  ")
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".dcm", ".nii"}


def open_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Open an image file by its content, whatever it is called; frames are decoded when asked for.

    `max_pixels` bounds rows x columns of a frame and is checked before decoding. Raises `UnreadableImageError` for a
    damaged or too large image, or a file named as an image that holds none; `NotAnImageError` for any other content.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116, opening a pipe would wait for who writes to it
            raise NotAnImageError("is not a regular file")
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise UnreadableImageError(f"cannot be opened: {error.strerror or type(error).__name__}") from None
    named_as_image = path.suffix.lower() in _IMAGE_SUFFIXES or path.name.lower().endswith(".nii.gz")
    if not start:
        raise (UnreadableImageError if named_as_image else NotAnImageError)("is empty")
    if _looks_like_dicom(start):
        from medcbir.pixels.dicom import DicomFile

        return DicomFile(path, max_pixels=max_pixels)
    if looks_like_nifti(path):
        return NiftiFile(path, max_pixels=max_pixels)
    try:
        return RasterFile(path, max_pixels=max_pixels)
    except UnidentifiedImageError:
        pass
    if start.startswith(_IMAGE_STARTS):
        raise UnreadableImageError("is a damaged image, or of a kind that is not supported")
    if named_as_image:
        raise UnreadableImageError(f"is named {path.suffix.lower()} and holds no image")
    raise NotAnImageError("holds no image of a known format")


def _looks_like_dicom(start: bytes) -> bool:
    """With preamble and prefix (PS3.10 7.1), or starting with an element of group 0002 or 0008 in either byte order."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}2H", start[:4])
        if group in (0x0002, 0x0008) and element <= 0x0070:
            return start[4:6].isalpha() or int.from_bytes(start[4:8], "little") < 0x10000
    return False
