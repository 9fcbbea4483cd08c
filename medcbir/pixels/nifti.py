"""NIfTI volumes as axial slices; needs nibabel, which is imported when the first volume is opened."""

import gzip
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medcbir.errors import UnreadableImageError
from medcbir.pixels.grey import Rendition, Window, render
from medcbir.pixels.image_file import ImageFile, check_frames, check_size, clean_reasons
from medcbir.types import UInt8Image

_LARGEST_HEADER = 2**28  # bytes, extensions included
_SHOWN = (1.0, 99.0)  # percentiles of the voxels that are not zero


class NiftiFile(ImageFile):
    """Axial slices from foot to head, then the next volume in time.

    A slice is shown in the radiological convention: the patient's right is left in the image, anterior is up. All
    slices of a volume share one window, from the 1st to the 99th percentile of its finite voxels that are not zero.
    A volume is decoded as a whole, so the limit of pixels holds for the volume.
    """

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        """Read the header; voxels are read with the first frame."""
        try:
            import nibabel
            from nibabel.orientations import apply_orientation, io_orientation
        except ImportError:
            raise UnreadableImageError('NIfTI needs nibabel: pip install "medcbir[demo]"') from None
        with clean_reasons("its NIfTI header cannot be read"):
            self._path = path
            self._compressed = is_gzip(path)
            with self._open() as stream:
                start = stream.read(600)
            kind: Any = nibabel.Nifti2Header if start[4:8] == b"n+2\0" else nibabel.Nifti1Header
            self._header = kind.from_fileobj(BytesIO(start), check=False)
            declared = [int(side) for side in self._header.get_data_shape()]
            if len(declared) < 2 or min(declared) < 1 or self._header.get_data_dtype().kind not in "iuf":
                raise UnreadableImageError("NIfTI of this shape or data type is not supported")
            self._shape = (*declared, 1, 1)[:4]
            check_size(math.prod(self._shape[1:3]), self._shape[0], max_pixels)
            self._start = int(self._header["vox_offset"])
            if not 0 <= self._start <= _LARGEST_HEADER:  # gzip would be inflated up to there
                raise UnreadableImageError("its NIfTI header declares voxels where none can be")
            orientation: Any = io_orientation
            self._to_canonical = orientation(self._header.get_best_affine())
            self._reorient: Any = apply_orientation
            self._slices = self._shape[int(np.argwhere(self._to_canonical[:, 0] == 2)[0, 0])]
            self.n_frames = self._slices * self._shape[3]
            check_frames(self.n_frames)
        self._volume: tuple[int, npt.NDArray[Any], Rendition] | None = None

    @property
    def _failure(self) -> str:
        return "its NIfTI volume is cut short or damaged"

    def _open(self) -> Any:
        return gzip.open(self._path) if self._compressed else self._path.open("rb")

    def _decode(self, index: int) -> UInt8Image:
        time, axial = divmod(index, self._slices)
        if self._volume is None or self._volume[0] != time:
            voxels = self._read(time)
            self._volume = (time, voxels, Rendition(voi=_window(voxels)))
        _, voxels, rendition = self._volume
        return render(np.ascontiguousarray(voxels[::-1, ::-1, axial].T), rendition)

    def _read(self, time: int) -> npt.NDArray[Any]:
        """Voxels (right, anterior, superior) of one volume, scaled as the header says."""
        dtype = self._header.get_data_dtype()
        count = math.prod(self._shape[:3])
        with self._open() as stream:
            stream.seek(self._start + time * count * dtype.itemsize)
            content = stream.read(count * dtype.itemsize)
        voxels = np.frombuffer(content, dtype).reshape(self._shape[:3], order="F")
        slope, intercept = self._header.get_slope_inter()
        if slope not in (None, 1.0) or intercept not in (None, 0.0):
            voxels = voxels * np.float32(slope or 1) + np.float32(intercept or 0)
        canonical: npt.NDArray[Any] = self._reorient(voxels, self._to_canonical)
        return canonical.astype(canonical.dtype.newbyteorder("="), copy=False)


def is_gzip(path: Path) -> bool:
    """Whether the content is gzip, whatever the file is called."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def looks_like_nifti(path: Path) -> bool:
    """Whether the content is a single-file NIfTI-1 or NIfTI-2, plain or in gzip."""
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as stream:
            start = stream.read(348)
    except (OSError, EOFError, ValueError):
        return False
    return start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"


def _window(voxels: npt.NDArray[Any]) -> Window:
    values = voxels[(voxels != 0) & np.isfinite(voxels)]
    if not values.size:
        return Window(0.0, 0.0)
    low, high = (float(bound) for bound in np.percentile(values, _SHOWN))
    return Window((low + high) / 2, high - low)
