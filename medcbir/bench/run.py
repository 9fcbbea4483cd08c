"""A benchmark from its name to its report: which steps there are, and what the report gets of them."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medcbir.api import Database
from medcbir.bench.bench import Bench
from medcbir.bench.counts import counting_step, published_datasets
from medcbir.bench.encoding_steps import chosen_encoders, encoding_steps
from medcbir.bench.protocol import steps_of
from medcbir.bench.reporting import reporting_step
from medcbir.bench.scale import ENCODER as SYNTHETIC
from medcbir.bench.scale import scale_steps, truth_step
from medcbir.bench.smoke import DATASET as SMOKE
from medcbir.bench.smoke import PIXELS, smoke_steps
from medcbir.bench.speed import speed_steps
from medcbir.bench.steps import Outcome, Runner, Step
from medcbir.bench.suites import SUITES, SuiteName
from medcbir.bench.synthetic import DATASETS, SMALLEST_SCALE, Collection
from medcbir.encoders import DEFAULT
from medcbir.errors import InputError
from medcbir.types import Progress, Silent


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How each step went, and the report's folder."""

    suite: SuiteName
    outcomes: tuple[Outcome, ...]
    out: Path

    @property
    def report(self) -> Path:
        """What to read: the report, or the folder of the speed studies where there is nothing else."""
        return self.out / ("speed" if self.suite == "speed" else "report.html")

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Steps that did not succeed though they should have."""
        return tuple(each for each in self.outcomes if each.status == "failed")


def run(
    db: Database,
    *,
    suite: SuiteName = "paper",
    out: str | Path,
    encoders: Sequence[str] = (),
    datasets: Sequence[str] = (),
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    scale: float = 1.0,
    dry_run: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Benchmark:
    """Do the steps of a suite that are not done yet, and write the report into `out`.

    Encoders are those with vectors or weights unless some are named; datasets the paper's, or else all, of those that
    the catalogue has. `scale` is the size of suite scale's collection, 1 being the paper's. `only` and `skip` name
    kinds of steps. A step is done again where what it depends on has changed; `tell` hears how each went. With
    `dry_run` nothing is done, and outcomes tell what would be, with rough estimates.

    Raises `InputError` for unknown names and an empty catalogue, `EncoderError` for unknown encoders. What goes wrong
    in a step is in its outcome.
    """
    if suite not in SUITES:
        raise InputError(f"unknown suite {suite!r}: choose {', '.join(SUITES)}")
    folder = Path(out)
    if not SMALLEST_SCALE <= scale <= 10:
        raise InputError(f"the scale must be from {SMALLEST_SCALE} to 10, not {scale}")
    bench = Bench(db, folder, SUITES[suite], list(datasets), scale)
    chosen = [part for name in encoders for part in ("--encoder", name)]
    chosen += [part for name in datasets for part in ("--dataset", name)]
    chosen += ["--scale", f"{scale:g}"] if scale != 1 else []
    bench.command = shlex.join(["medcbir", "bench", "--suite", suite, *chosen, "--out", folder.name])
    holder: list[Runner] = []
    steps = _STEPS[suite](bench, tuple(encoders), lambda: holder[0])
    holder.append(Runner(folder / "steps", steps))
    if dry_run:
        outcomes = holder[0].plan(only=only, skip=skip)
    else:
        outcomes = holder[0].run(progress or Silent(), only=only, skip=skip, tell=tell)
    return Benchmark(suite, tuple(outcomes), folder)


def _paper(bench: Bench, encoders: tuple[str, ...], runner: Callable[[], Runner]) -> list[Step]:
    bench.datasets = bench.datasets or published_datasets(bench)
    steps = [counting_step(bench)]
    for encoder, encode in chosen_encoders(bench, encoders).items():
        making = encoding_steps(bench, encoder) if encode else []
        steps += [*making, *steps_of(bench, encoder, runner, tuple(step.name for step in making))]
    return [*steps, *speed_steps(bench, quick=True), reporting_step(bench, runner)]


def _smoke(bench: Bench, encoders: tuple[str, ...], runner: Callable[[], Runner]) -> list[Step]:
    if encoders or bench.datasets:
        raise InputError("suite smoke has encoders and images of its own: leave out --encoder and --dataset")
    bench.datasets = [SMOKE]
    catalogue, pixels = smoke_steps(bench)
    making = encoding_steps(bench, DEFAULT, needs=(catalogue.name,))
    return [
        catalogue,
        counting_step(bench, needs=(catalogue.name,)),
        *making,
        *steps_of(bench, DEFAULT, runner, tuple(step.name for step in making)),
        pixels,
        *steps_of(bench, PIXELS, runner, (pixels.name,)),
        *speed_steps(bench, quick=True),
        reporting_step(bench, runner),
    ]


def _scale(bench: Bench, encoders: tuple[str, ...], runner: Callable[[], Runner]) -> list[Step]:
    if encoders or bench.datasets:
        raise InputError("suite scale has vectors and images of its own: leave out --encoder and --dataset")
    bench.datasets = list(DATASETS)
    collection = Collection(scale=bench.scale)
    bench.brings = collection.of_splits
    if bench.scale < 1:
        larger_than = max(1, round(bench.suite.larger_than * bench.scale))
        sizes = tuple(size for size in bench.suite.sizes if size <= larger_than) or (1,)
        bench.suite = replace(bench.suite, larger_than=larger_than, sizes=sizes)
    catalogue, vectors = scale_steps(bench, collection)
    retrieve, *others = steps_of(bench, SYNTHETIC, runner, (vectors.name,))
    return [
        catalogue,
        counting_step(bench, needs=(catalogue.name,)),
        vectors,
        retrieve,
        truth_step(bench, collection),
        *others,
        reporting_step(bench, runner),
    ]


def _speed(bench: Bench, encoders: tuple[str, ...], _: Callable[[], Runner]) -> list[Step]:
    if encoders or bench.datasets:
        raise InputError("suite speed has images and vectors of its own: leave out --encoder and --dataset")
    return speed_steps(bench, quick=False)


_STEPS: dict[SuiteName, Callable[[Bench, tuple[str, ...], Callable[[], Runner]], list[Step]]] = {
    "paper": _paper,
    "smoke": _smoke,
    "speed": _speed,
    "scale": _scale,
}
