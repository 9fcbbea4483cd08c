"""PNG, JPEG, TIFF and the other formats that Pillow reads, without the loss that Pillow's own conversions bring."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from medcbir.errors import MedcbirError, UnreadableImageError
from medcbir.pixels.grey import Rendition, render
from medcbir.pixels.image_file import ImageFile, check_frames, check_size
from medcbir.types import UInt8Image

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "JPEG2000", "GIF", "WEBP", "PPM")  # none that runs another program
_WITH_ALPHA = {"LA": "L", "La": "L", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB"}
_LIMIT = threading.Lock()


class RasterFile(ImageFile):
    """An image file of one frame, or of one per page (TIFF) or step (GIF, WebP, APNG); its bytes are held in memory."""

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        """Read sizes only; `UnidentifiedImageError` leaves as it is, for a content that no format claims."""
        self._max_pixels = max_pixels
        try:
            with _quiet_pillow(), path.open("rb") as stream:
                probe = Image.open(stream, formats=_FORMATS)  # so that a large file of another kind is not read
                check_size(probe.height, probe.width, max_pixels)
                stream.seek(0)
                self._image = Image.open(BytesIO(stream.read()), formats=_FORMATS)
                self.n_frames: int = getattr(self._image, "n_frames", 1)
                check_frames(self.n_frames)
        except (MedcbirError, UnidentifiedImageError):
            raise
        except Exception as error:
            raise UnreadableImageError(f"its image header is damaged ({type(error).__name__})") from None

    @property
    def _failure(self) -> str:
        return f"is cut short or damaged ({self._image.format})"

    def _decode(self, index: int) -> UInt8Image:
        with _quiet_pillow():
            image: Image.Image = self._image
            if self.n_frames > 1:
                image.seek(index)
                check_size(image.height, image.width, self._max_pixels)
            image.load()
            if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                image = ImageOps.exif_transpose(image)
            return _displayable(image)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings, and without its own limit of pixels: `max_pixels` is checked instead."""
    with _LIMIT, warnings.catch_warnings(action="ignore"):
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


def _displayable(image: Image.Image) -> UInt8Image:
    """Grey or RGB of any mode; transparency lies on black; more than 8 bits go through `_deep_grey`."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if opaque := _WITH_ALPHA.get(image.mode):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert(opaque)
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image)


def _deep_grey(image: Image.Image) -> UInt8Image:
    """Integers within 0..255 stay as they are; anything else is scaled from its minimum (black) to its maximum (white).

    Pillow's own conversion would clip at 255. A constant image is black, and so are values that are not finite.
    """
    values = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    shown = values if values.dtype.kind != "f" else values[np.isfinite(values)]
    if not shown.size:
        return np.zeros(values.shape, np.uint8)
    low, high = shown.min().item(), shown.max().item()
    white_is_zero = getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0  # of a TIFF
    if values.dtype.kind != "f" and low >= 0 and high <= 255 and not white_is_zero:
        return values.astype(np.uint8)
    return render(np.ascontiguousarray(values), Rendition(full_range=(low, high), inverted=white_is_zero))
