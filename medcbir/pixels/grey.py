"""Stored values to grey levels: modality transform, value-of-interest transform, presentation (DICOM PS3.3 C.11).

Pure functions on arrays. Arithmetic is float64; an integer image with fewer distinct possible values than pixels goes
through a look-up table computed by the same function, so both ways give the same image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcbir.types import UInt8Image

Values = npt.NDArray[np.float64]
Transform = Callable[[Values], Values]

_TAIL = 0.001  # share of pixels that a window taken from the data may saturate at either end


@dataclass(frozen=True, slots=True)
class Linear:
    """Rescale slope and intercept (PS3.3 C.11.1.1.2): output = slope * stored + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: Values) -> Values:
        """Rescaled `values`."""
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """A LUT (PS3.3 C.11.1.1.1, C.11.2.1.1): `entries` (n,) float64 for inputs from `first` on, its ends beyond."""

    first: int
    entries: Values

    def __call__(self, values: Values) -> Values:
        """The entry of each value, which is rounded to an integer first."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        output: Values = self.entries[np.nan_to_num(index).astype(np.intp)]
        return output


@dataclass(frozen=True, slots=True)
class Window:
    """A window in output units of the modality transform; gives fractions, 0 black to 1 white (PS3.3 C.11.2.1.2)."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR_EXACT"

    def __call__(self, values: Values) -> Values:
        """Fractions of `values`."""
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp(-4 * (values - self.centre) / self.width))
        centre, width = self.centre, self.width
        if self.function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        if width == 0:
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Rendition:
    """How the stored values of one frame become grey levels.

    `voi` None takes the window from `full_range` (stored values shown black and white) or, without that, from the
    frame: from its 0.1 to its 99.9 percentile, padding and non-finite values left out (minimum to maximum where the two
    percentiles are equal). `padding` are the first and last stored value that mean no pixel (PS3.3 C.7.5.1.1.2):
    shown black. `inverted` is MONOCHROME1.
    """

    modality: Transform = Linear()
    voi: Transform | None = None
    full_range: tuple[float, float] | None = None
    padding: tuple[float, float] | None = None
    inverted: bool = False


def render(stored: npt.NDArray[Any], rendition: Rendition) -> UInt8Image:
    """Grey levels (height, width) uint8 of `stored` (height, width), integer or float; fractions round half up."""
    voi = rendition.voi or _window_of(stored, rendition)

    def shade(values: Values) -> UInt8Image:
        fractions = voi(rendition.modality(values))
        if rendition.inverted:
            fractions = 1 - fractions
        hidden = ~np.isfinite(values)
        if rendition.padding is not None:
            low, high = rendition.padding
            hidden |= (values >= low) & (values <= high)
        fractions[hidden] = 0
        grey: UInt8Image = np.floor(fractions * 255 + 0.5).astype(np.uint8)
        return grey

    if stored.dtype.kind in "iu":
        low, high = int(stored.min()), int(stored.max())
        if high - low < stored.size:
            table = shade(np.arange(low, high + 1, dtype=np.float64))
            unsigned = np.dtype(f"u{stored.dtype.itemsize}")
            bits = stored.view(unsigned)
            offsets = bits - unsigned.type(low % 2 ** (8 * unsigned.itemsize))  # modulo 2^n, so signed values work too
            grey: UInt8Image = np.take(table, offsets)
            return grey
    return shade(stored.astype(np.float64))


def to_eight_bits(values: npt.NDArray[Any], bits: int) -> UInt8Image:
    """Unsigned integers of `bits` significant bits, any shape, scaled to 0..255 and rounded half up."""
    if bits == 8 and values.dtype.itemsize == 1:
        return values.astype(np.uint8)
    top = 2**bits - 1
    levels: UInt8Image = np.floor(np.minimum(values, top) * (255 / top) + 0.5).astype(np.uint8)
    return levels


def _window_of(stored: npt.NDArray[Any], rendition: Rendition) -> Window:
    low, high = rendition.full_range or _bulk(stored, rendition.padding)
    first, last = sorted(rendition.modality(np.array([low, high], dtype=np.float64)).tolist())
    return Window((first + last) / 2, last - first)


def _bulk(stored: npt.NDArray[Any], padding: tuple[float, float] | None) -> tuple[float, float]:
    values = stored.ravel()
    if padding is not None:
        values = values[(values < padding[0]) | (values > padding[1])]
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0
    tail = int(values.size * _TAIL)
    ordered = np.partition(values, (tail, values.size - 1 - tail))
    low, high = float(ordered[tail]), float(ordered[-1 - tail])
    return (low, high) if low < high else (float(values.min()), float(values.max()))
