"""What a speed study found: the same work done several ways in one run, so that ratios count and times inform."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Measurement:
    """One way of doing one piece of work.

    `case` is the piece of work ("200,000 x 512, 16,384 queries"), `way` how it was done ("FAISS IndexFlatIP").
    `seconds` is the median of `repeats` rounds, wall time; `low` and `high` their range. `ratio` is how many times the
    baseline's speed this is (above 1: faster), by the median of ratios within a round; None for the baseline itself.
    `peak_mib` is resident memory in MiB where it was measured. `shares` gives shares of the time by stage, in [0, 1].
    """

    case: str
    way: str
    seconds: float
    low: float
    high: float
    repeats: int
    items: int
    unit: str
    ratio: float | None = None
    peak_mib: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds


@dataclass(frozen=True, slots=True)
class Study:
    """A table of measurements with what they mean: `baseline` is the way that ratios refer to."""

    name: str
    title: str
    baseline: str
    measurements: tuple[Measurement, ...]
    about: str = ""
