"""What a benchmark's report is made of: names of what stands in the database, and facts about how it came there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EncoderResults:
    """What a benchmark has of one encoder, each by its name or id in the database; None where it is not there.

    `run` excludes the query's patient, `same_patient_run` does not; `covid_run` is on the COVID-19 set (Table 3);
    `projection` is a stored map of the vectors. `images_per_second` and `peak_mib` are of encoding. `failures` are
    steps that did not succeed, each with its reason.
    """

    encoder: str
    run: str | None = None
    same_patient_run: str | None = None
    covid_run: str | None = None
    knn: int | None = None
    linear: int | None = None
    ablation: int | None = None
    projection: int | None = None
    images_per_second: float | None = None
    peak_mib: float | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepFact:
    """How a step went: `status` is 'done', 'unchanged', 'skipped' or 'failed'; memory is the peak of the process.

    Seconds and memory are None where the step was not done, or broken off when it had just finished.
    """

    name: str
    status: str
    seconds: float | None = None
    peak_mib: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a benchmark was made: for whoever repeats it.

    `studies` are JSON files of speed studies (`medcbir.bench.study.Study`, as `dataclasses.asdict` gives it).
    """

    suite: str
    commands: tuple[str, ...]
    hardware: Mapping[str, str]
    versions: Mapping[str, str]
    steps: tuple[StepFact, ...] = ()
    studies: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())
