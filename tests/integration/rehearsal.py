"""A benchmark in a process of its own, stopped by a signal in the midst of a step or just before its state is written.

Processes are forked from one that has imported everything and done nothing, so that each starts at once.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partialmethod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import medcbir
from medcbir.bench import Outcome, encoding, retrieval, run, smoke, steps
from medcbir.bench.suites import SuiteName
from medcbir.demo.gather import Collection

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    ["faiss", "matplotlib.figure", "medcbir.bench.run", "medcbir.evaluation.linear", "openTSNE", "timm"]
)
SCALE = 0.001
SPEED = retrieval.Sizes(run=(300, 40), images=(200, 300), dims=(16,), queries=30, rounds=1, single_rounds=1)
_STOPPED = 130
_PATIENCE = 240.0  # seconds
_SWALLOWED = 30.0  # seconds after which a Ctrl-C that some library has swallowed is pressed again


@dataclass(frozen=True, slots=True)
class Place:
    """Where a benchmark works: a suite on a database, into a folder."""

    suite: SuiteName
    conninfo: str
    data_dir: Path
    out: Path
    images: Collection | None = None
    """Of suite smoke, found once for all processes."""

    def seconds(self, step: str) -> float:
        """How long a step took."""
        seconds: float = json.loads((self.out / "steps" / f"{step}.json").read_text())["seconds"]
        return seconds


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a benchmark is stopped: `inside` a step after so many seconds, or `unsaved`, when all of it is done."""

    step: str
    how: Literal["inside", "unsaved"]
    after: float = 0.0
    by: signal.Signals = signal.SIGKILL


def rehearse(place: Place, stop: Stop | None = None) -> None:
    """Run the benchmark until it ends or is stopped. Raises `AssertionError` where a step fails."""
    ours, theirs = FORKED.Pipe()
    process = FORKED.Process(target=_work, args=(place, theirs, None if stop is None else stop.step))
    process.start()
    theirs.close()
    if stop is not None:
        said = _hear(ours)
        if stop.how == "inside":
            time.sleep(stop.after)
        while stop.how == "unsaved" and said != "done":
            said = _hear(ours)
        os.kill(process.pid or 0, stop.by)
        process.join(_SWALLOWED)
        if process.is_alive():
            os.kill(process.pid or 0, stop.by)
    process.join(_PATIENCE)
    expected = 0 if stop is None else -signal.SIGKILL if stop.by == signal.SIGKILL else _STOPPED
    assert process.exitcode == expected, (place.suite, stop, process.exitcode)


def _hear(pipe: Connection) -> str:
    assert pipe.poll(_PATIENCE), "the benchmark says nothing"
    said: str = pipe.recv()
    return said


def _work(place: Place, pipe: Connection, told: str | None) -> None:
    _shrink(place)
    write = steps.Runner._write

    def telling(self: steps.Runner, step: steps.Step, state: steps.Facts) -> None:
        if step.name == told and "facts" in state:
            pipe.send("done")
            signal.pause()
        write(self, step, state)
        if step.name == told:
            pipe.send("begun")

    def watch(outcome: Outcome) -> None:
        assert outcome.status != "failed", f"{outcome.step.name}: {outcome.reason}"

    steps.Runner._write = telling  # type: ignore[method-assign]
    try:
        with medcbir.connect(place.conninfo, data_dir=place.data_dir) as db:
            run(db, suite=place.suite, out=place.out, scale=SCALE if place.suite == "scale" else 1.0, tell=watch)
    except KeyboardInterrupt:
        sys.exit(_STOPPED)


def _shrink(place: Place) -> None:
    """Less to do for linear probe and speed studies, and images that need not be looked for again."""
    medcbir.Database.classify_linear = partialmethod(medcbir.Database.classify_linear, epochs=5)  # type: ignore[assignment]
    encoding._ENCODERS = ("efficientnet_lite0",)
    encoding._SECONDS = (0.05, 0.05)
    encoding._ROWS = ((50,), (50,))
    retrieval.QUICK = SPEED
    if place.images is not None:
        smoke._collection = lambda: place.images  # type: ignore[assignment]
