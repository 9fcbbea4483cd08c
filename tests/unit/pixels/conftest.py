from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

WriteDicom = Callable[..., Path]


@pytest.fixture
def write_dicom(tmp_path: Path) -> WriteDicom:
    """Write `pixels` (rows, columns) or (frames, rows, columns) as a DICOM file; keywords set elements."""

    def write(
        pixels: npt.NDArray[Any], name: str = "image.dcm", syntax: UID = ExplicitVRLittleEndian, **elements: Any
    ) -> Path:
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.Rows, dataset.Columns = pixels.shape[-2:]
        if pixels.ndim == 3:
            dataset.NumberOfFrames = len(pixels)
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        if "PixelData" not in elements:
            content = pixels.astype(pixels.dtype.newbyteorder(">" if not syntax.is_little_endian else "<")).tobytes()
            dataset.PixelData = content + b"\0" * (len(content) % 2)
            dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def ramp() -> npt.NDArray[np.uint16]:
    """A (64, 64) image of every value 0..4095."""
    return np.arange(4096, dtype=np.uint16).reshape(64, 64)
