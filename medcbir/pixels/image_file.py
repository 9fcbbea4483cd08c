"""What every opened image file can do, whatever its format."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from medcbir.errors import MedcbirError, UnreadableImageError
from medcbir.types import UInt8Image

if TYPE_CHECKING:
    import pydicom

MAX_PIXELS = 200_000_000
"""Default limit of rows x columns of one frame."""

MAX_FRAMES = 100_000
"""Limit of the frames of one file, each of which becomes a row."""


class ImageFile(ABC):
    """An opened file of `n_frames` images; `header` is its DICOM metadata without pixel data, None in other formats."""

    n_frames: int
    header: "pydicom.Dataset | None" = None

    def frame(self, index: int) -> UInt8Image:
        """Frame `index`, counted from 0: uint8, grey (height, width) or RGB (height, width, 3), as a viewer shows it.

        Raises `UnreadableImageError` where it cannot be decoded, is cut short, or does not exist.
        """
        if not 0 <= index < self.n_frames:
            raise UnreadableImageError(f"has {self.n_frames} frames, so none of index {index}")
        with clean_reasons(self._failure):
            return np.ascontiguousarray(self._decode(index))

    def frames(self) -> Iterator[UInt8Image]:
        """Every frame in order, decoded when asked for."""
        return map(self.frame, range(self.n_frames))

    @property
    @abstractmethod
    def _failure(self) -> str:
        """What is said of a frame whose decoder failed."""

    @abstractmethod
    def _decode(self, index: int) -> UInt8Image:
        """Frame `index`; whatever it raises is turned into a reason."""


@contextmanager
def clean_reasons(failure: str) -> Iterator[None]:
    """Turn any exception into an `UnreadableImageError` that says `failure`.

    The message of a parser or decoder is dropped: it may quote the file's content, which may name a patient.
    """
    try:
        yield
    except (MedcbirError, KeyboardInterrupt, SystemExit):
        raise
    except MemoryError:
        raise UnreadableImageError(f"{failure}: needs more memory than there is") from None
    except BaseException as error:  # a decoder in Rust panics with a BaseException
        raise UnreadableImageError(f"{failure} ({type(error).__name__})") from None


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Refuse an image that is empty or larger than `max_pixels`, before anything of it is decoded."""
    if height < 1 or width < 1:
        raise UnreadableImageError(f"declares an image of {width} x {height} pixels")
    if height * width > max_pixels:
        raise UnreadableImageError(
            f"declares {width} x {height} pixels, more than the limit of {max_pixels} (MEDCBIR_MAX_PIXELS)"
        )


def check_frames(count: int) -> None:
    """Refuse a file with more frames than anyone has scanned, before they are looked for."""
    if count > MAX_FRAMES:
        raise UnreadableImageError(f"declares {count} frames, more than the limit of {MAX_FRAMES}")


def pixel_sha256(pixels: UInt8Image) -> bytes:
    """SHA-256 (32 bytes) over shape and values: equal for equal displayable images, whatever file they came from."""
    digest = hashlib.sha256(repr(tuple(int(side) for side in pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
