"""Ways of doing one piece of work, timed in turn, so that whatever else the machine does disturbs all alike."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medcbir.api import Database
from medcbir.bench.study import Measurement
from medcbir.errors import RunError


@dataclass(frozen=True, slots=True)
class Way:
    """A way of doing the work: what it takes is multiplied by `times` where `action` does only a part of it."""

    name: str
    action: Callable[[int], object]
    times: float = 1.0
    note: str = ""


def measure(case: str, ways: list[Way], rounds: int, items: int) -> list[Measurement]:
    """Measurements of all ways over so many rounds, after one that warms up; the first way is the baseline.

    Actions get the number of the round, from 0 on.
    """
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(-1, rounds):
        for way in ways:
            started = time.perf_counter()
            way.action(max(0, number))
            if number >= 0:
                seconds[way.name].append((time.perf_counter() - started) * way.times)
    base = seconds[ways[0].name]
    return [
        Measurement(
            case=case,
            way=way.name,
            seconds=statistics.median(seconds[way.name]),
            low=min(seconds[way.name]),
            high=max(seconds[way.name]),
            repeats=rounds,
            items=items,
            unit="queries",
            ratio=None
            if way is ways[0]
            else statistics.median(own / other for own, other in zip(base, seconds[way.name], strict=True)),
            note=way.note,
        )
        for way in ways
    ]


_TELLING_ITS_PEAK = """
import os, sys
from medcbir.bench.memory import peak_memory
from medcbir.cli import main
told = os.fdopen(int(sys.argv.pop(1)), "w")
with peak_memory() as peak:
    try:
        main()
    finally:
        told.write(str(peak() or ""))
        told.close()
"""
"""The command, and its peak of memory by itself: what wait4 tells includes the peak of the process that started it."""


def by_command(
    database: Database, case: str, items: int, *arguments: str, baseline: float | None = None
) -> tuple[Measurement, Mapping[str, Any]]:
    """`medcbir` with these arguments as a process of its own, once, and the JSON document that it prints.

    Its peak memory is that of the whole process. `baseline` is another way's time in seconds.
    """
    place = {"DATABASE_URL": database.conninfo, "MEDCBIR_DATA_DIR": str(database.settings.data_dir)}
    reading, writing = os.pipe()
    command = [sys.executable, "-c", _TELLING_ITS_PEAK, str(writing), *arguments, "--format", "json"]
    started = time.perf_counter()
    with os.fdopen(reading) as told:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, env=os.environ | place, pass_fds=[writing], check=False
            )
        finally:
            os.close(writing)
        peak = told.read()
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RunError(f"`medcbir {' '.join(arguments)}` ended with code {done.returncode}")
    measurement = Measurement(
        case=case,
        way=f"medcbir {arguments[0]}, first run",
        seconds=seconds,
        low=seconds,
        high=seconds,
        repeats=1,
        items=items,
        unit="queries",
        ratio=None if baseline is None else baseline / seconds,
        peak_mib=float(peak) if peak else None,
        note="the command from start to end, its copy of the vectors to be made",
    )
    found: Mapping[str, Any] = json.loads(done.stdout)
    return measurement, found
