"""What a worker process does with one file: inspect it for the catalogue, or prepare its frames for an encoder."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medcbir.encoders.preprocess import prepare
from medcbir.encoders.spec import Pixels
from medcbir.errors import MedcbirError, NotAnImageError, UnreadableImageError
from medcbir.pixels import open_image, pixel_sha256
from medcbir.types import Entry, FileFacts, ImageRecord, Rejection


def inspect(record: ImageRecord, hash_key: bytes, max_pixels: int) -> list[Entry] | Rejection:
    """Decode every frame that `record` means, and complete the record by what its file says."""
    path = record.path
    if path is None:
        return [Entry(replace(record, frame=record.frame or 0), None)]
    try:
        image = open_image(path, max_pixels=max_pixels)
        with path.open("rb") as stream:
            file_sha256 = hashlib.file_digest(stream, "sha256").digest()
        frames = range(image.n_frames) if record.frame is None else [record.frame]
        entries = []
        for frame in frames:
            pixels = image.frame(frame)
            described = replace(record, frame=frame)
            if image.header is not None:
                from medcbir.sources.dicom import describe

                described = describe(image.header, described, frame=frame, hash_key=hash_key)
            facts = FileFacts(file_sha256, pixel_sha256(pixels), width=pixels.shape[1], height=pixels.shape[0])
            entries.append(Entry(described, facts))
    except NotAnImageError as error:
        return Rejection(record.uri, record.dataset, str(error), kind="not_an_image")
    except MedcbirError as error:
        return Rejection(record.uri, record.dataset, str(error))
    except OSError as error:
        return Rejection(record.uri, record.dataset, error.strerror or type(error).__name__)
    return entries


def prepare_frames(
    path: Path, frames: list[int], digests: list[bytes | None], pixels: Pixels, max_pixels: int
) -> list[npt.NDArray[np.uint8] | str]:
    """Each frame of a file as an encoder's input (size, size, 3) uint8, or the reason why it cannot be.

    A frame whose pixels no longer have the digest that the catalogue holds is refused: its vector would belong to
    another picture than its row.
    """
    try:
        image = open_image(path, max_pixels=max_pixels)
    except (MedcbirError, OSError) as error:
        return [_reason(error)] * len(frames)
    prepared: list[npt.NDArray[np.uint8] | str] = []
    for frame, digest in zip(frames, digests, strict=True):
        try:
            shown = image.frame(frame)
            if digest is not None and pixel_sha256(shown) != digest:
                raise UnreadableImageError(
                    "the file has changed since it was catalogued; run `medcbir ingest` on it again"
                )
            prepared.append(prepare(shown, pixels))
        except (MedcbirError, OSError) as error:
            prepared.append(_reason(error))
    return prepared


def _reason(error: MedcbirError | OSError) -> str:
    return str(error) if isinstance(error, MedcbirError) else error.strerror or type(error).__name__
