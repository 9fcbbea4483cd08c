"""From a displayable image to the pixels that a model sees, still uint8: what worker processes do, without torch."""

import math

import numpy as np
from PIL import Image

from medcbir.encoders.spec import Pixels
from medcbir.errors import UnreadableImageError
from medcbir.types import UInt8Image

_NARROWEST = 200
"""An image may be so many times as long as wide: resized by its shortest side, it then still fits in memory."""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def prepare(image: UInt8Image, pixels: Pixels) -> UInt8Image:
    """Resize and crop `image`, (height, width) or (height, width, 3) uint8, to (size, size, 3) uint8.

    Value for value what timm's evaluation transform (crop mode 'center', or 'squash') gives before it normalises, for
    'shortest_floor' what transformers' processors give, and for 'longest' what SAM's gives. Grey is replicated last: a
    resampled channel does not depend on the others.
    Raises `UnreadableImageError` for a strip so narrow that its resized form would not fit in memory.
    """
    height, width = image.shape[:2]
    if pixels.resize.startswith("shortest") and max(height, width) > _NARROWEST * min(height, width):
        raise UnreadableImageError(f"it is {width} x {height} pixels, too narrow a strip to be encoded")
    size = pixels.size
    new_width, new_height = _new_size(width, height, pixels)
    source, resampling = Image.fromarray(image), _RESAMPLING[pixels.interpolation]
    if pixels.resize == "longest":
        canvas = Image.new("RGB", (size, size), tuple(round(255 * mean) for mean in pixels.mean))
        canvas.paste(source.resize((new_width, new_height), resampling))
        return np.asarray(canvas)
    centred = math.floor if pixels.resize == "shortest_floor" else round
    left, top = centred((new_width - size) / 2), centred((new_height - size) / 2)
    scale = width / new_width
    box = (left * scale, top * scale, (left + size) * scale, (top + size) * scale)
    if width == height and all(edge == float(np.float32(edge)) for edge in box):
        # What the crop would cut away need not be resampled, which saves a quarter of the time. The values stay the
        # same only where the box is exact in float32, as Pillow takes it, and where the order of its passes is.
        cropped = source.resize((size, size), resampling, box=box)
    else:
        resized = source.resize((new_width, new_height), resampling)
        cropped = resized.crop((left, top, left + size, top + size))
    return np.asarray(cropped.convert("RGB"))


def _new_size(width: int, height: int, pixels: Pixels) -> tuple[int, int]:
    """Width and height after resizing; each mode rounds as the library that it comes from."""
    side = math.floor(pixels.size / pixels.crop)
    if pixels.resize == "squash":
        return side, side
    if pixels.resize == "longest":
        scale = side / max(width, height)
        return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side
