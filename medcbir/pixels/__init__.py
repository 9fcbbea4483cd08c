"""File bytes to displayable arrays: DICOM, PNG, JPEG, TIFF and relatives, NIfTI, told apart by content, never by name.

A path enters `open_image`; an `ImageFile` leaves, which decodes one frame at a time to what a viewer would show: uint8,
grey (height, width) or RGB (height, width, 3). What cannot be decoded raises `UnreadableImageError` or
`NotAnImageError` with a short reason. It must never name a patient or a folder in a reason or a log, never use the
network, never decode an image larger than its limit, and never return pixels that the file does not fully hold. What
reads DICOM or NIfTI is imported when the first such file is opened.
"""

from medcbir.pixels.image_file import ImageFile, pixel_sha256
from medcbir.pixels.opening import open_image

__all__ = ["ImageFile", "open_image", "pixel_sha256"]
