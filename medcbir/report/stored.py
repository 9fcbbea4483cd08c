"""A report on what is in the database: runs with all that belongs to their encoders, made by whatever commands."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row, namedtuple_row

from medcbir.report.benchmark import write_benchmark
from medcbir.report.contents import EncoderResults, Provenance
from medcbir.report.provenance import hardware, versions
from medcbir.report.tiles import Read
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Progress, Run


def write_stored(
    connection: Connection,
    out: Path,
    runs: Sequence[Run],
    *,
    read: Read,
    encoders_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """The report on `runs`, or without any on the newest run of each encoder; return its files."""
    names = [run.name for run in runs] or [name for (name,) in connection.execute(query("newest_runs")).fetchall()]
    with connection.cursor(row_factory=dict_row) as cursor:
        results = [
            EncoderResults(**row) for row in cursor.execute(query("report_results"), {"names": names}).fetchall()
        ]
    made = Provenance(
        suite="runs of this database",
        commands=(*_commands(connection, results), shlex.join(["medcbir", "report", *names, "--out", "DIR"])),
        hardware=hardware(),
        versions=versions(),
    )
    return write_benchmark(connection, out, results, made, read=read, encoders_dir=encoders_dir, progress=progress)


def _commands(connection: Connection, results: Sequence[EncoderResults]) -> list[str]:
    """How to retrieve alike: by the command, or from Python where it lacks a filter."""
    names = [name for each in results for name in (each.run, each.same_patient_run) if name is not None]
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        found: list[Any] = cursor.execute(query("report_runs"), {"names": names}).fetchall()
    commands = []
    for run in found:
        queries, index = run.query_filter, run.index_filter
        datasets = queries.get("datasets", [])
        if {*queries, *index} - {"split", "datasets"} or index.get("datasets", []) != datasets:
            commands.append(shlex.join(["python", "-c", _call(run)]))
            continue
        command = ["medcbir", "retrieve", "--encoder", run.encoder, "-n", str(run.n)]
        command += [part for dataset in datasets for part in ("--dataset", dataset)]
        command += ["--queries", queries.get("split", "all"), "--index", index.get("split", "all")]
        command.append("--exclude-same-patient" if run.exclude_same_patient else "--no-exclude-same-patient")
        commands.append(shlex.join([*command, "--name", run.name]))
    return commands


def _call(run: Any) -> str:
    """The call of the Python interface for filters that the command lacks."""
    queries, index = (
        f"Filter({', '.join(f'{key}={value!r}' for key, value in where.items())})"
        for where in (run.query_filter, run.index_filter)
    )
    return (
        "import medcbir; from medcbir.types import Filter; "
        f"medcbir.connect().retrieve(encoder={run.encoder!r}, n={run.n}, queries={queries}, "
        f"index={index}, exclude_same_patient={run.exclude_same_patient}, name={run.name!r})"
    )
