"""The one place that draws progress: a bar on a terminal, plain lines elsewhere, both on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from medcbir.types import Progress

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress for the length of the block."""
    if sys.stderr.isatty():
        with _bar() as bar:
            yield bar
    else:
        lines = _Lines()
        yield lines
        lines.finish()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Speed(ProgressColumn):
        """Items per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.1f} {task.fields['unit']}/s")

    class Bar:
        def __init__(self, shown: RichProgress) -> None:
            self._shown = shown
            self._task: TaskID | None = None

        def begin(self, stage: str, unit: str, total: int | None) -> None:
            if self._task is not None:
                self._shown.stop_task(self._task)
            self._task = self._shown.add_task(stage, total=total, unit=unit, note="")

        def advance(self, items: int) -> None:
            if self._task is not None:
                self._shown.advance(self._task, items)

        def note(self, text: str) -> None:
            if self._task is not None:
                self._shown.update(self._task, note=text)

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True), speed_estimate_period=30) as shown:
        yield Bar(shown)


class _Lines:
    """A line at each stage's start and end, and every ten seconds between."""

    def __init__(self) -> None:
        self._stage = ""
        self._unit = ""
        self._total: int | None = None
        self._done = 0
        self._note = ""
        self._started = self._told = 0.0

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        self.finish()
        self._stage, self._unit, self._total, self._done, self._note = stage, unit, total, 0, ""
        self._started = self._told = time.monotonic()
        print(f"{stage} ...", file=sys.stderr, flush=True)  # noqa: T201

    def advance(self, items: int) -> None:
        self._done += items
        if time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._print("")

    def note(self, text: str) -> None:
        self._note = text

    def finish(self) -> None:
        if self._stage:
            whole = self._total is None or self._done >= self._total
            self._print(", done" if whole else ", ended")
            self._stage = ""

    def _print(self, state: str) -> None:
        seconds = time.monotonic() - self._started
        speed = self._done / seconds if seconds > 0 else 0.0
        parts = [
            f"{self._stage}: {self._done}{'' if self._total is None else f' of {self._total}'} {self._unit}{state}"
        ]
        parts.append(f"{speed:.1f} {self._unit}/s")
        if not state and self._total and speed:
            parts.append(f"{(self._total - self._done) / speed:.0f} s left")
        parts += [self._note] if self._note else []
        print(", ".join(parts), file=sys.stderr, flush=True)  # noqa: T201
