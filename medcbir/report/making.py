"""Sections on how it was made: speed and memory, exactness, speed studies, and how to repeat it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcbir.report import figures
from medcbir.report.material import Material
from medcbir.report.sections import Block, Listing, Section
from medcbir.report.tables import Column, Table


def cost(material: Material) -> Section:
    """Quality beside the speed and memory of encoding."""
    title = "Quality, speed and memory"
    n = material.sizes()[0] if material.retrieved else 1
    quality = {
        material.key_of(result): metric.value
        for result, run in material.retrieved
        for metric in material.metrics(run, material.sizes())
        if (metric.n, metric.average, metric.definition) == (n, "micro", "paper")
    }
    known = [each for each in material.results if each.images_per_second or each.peak_mib]
    if not known:
        return Section(
            "cost", title, ("Left out: no encoding was timed; vectors were imported, or encoded before this.",)
        )
    drawn = figures.pareto(
        [
            (material.name_of(each), each.images_per_second, value, each.peak_mib)
            for each in known
            if each.images_per_second and (value := quality.get(material.key_of(each))) is not None
        ],
        f"P@{n}, micro",
    )
    table = Table(
        "cost",
        "Quality, speed of encoding and peak memory",
        (
            Column("encoder", "Encoder"),
            Column("precision", f"P@{n}, micro", digits=3),
            Column("images_per_second", "Images/s", digits=1),
            Column("peak_mib", "Peak memory, MiB", digits=0),
        ),
        tuple(
            (material.name_of(each), quality.get(material.key_of(each)), each.images_per_second, each.peak_mib)
            for each in known
        ),
    )
    return Section(
        "cost", title, ("Measured while encoding, on the machine named below.",), (*([drawn] if drawn else []), table)
    )


def exactness(material: Material) -> Section:
    """What vouches for the hits of every run."""
    names = [
        name
        for each in material.results
        for name in (each.run, each.same_patient_run, each.covid_run)
        if name is not None
    ]
    title = "Exactness"
    if not names:
        return Section("exactness", title, ("Left out: no encoder has a retrieval run.",))
    found = material.rows("report_runs", names=names)
    table = Table(
        "runs",
        "Runs and their certificates",
        (
            Column("run", "Run"),
            Column("encoder", "Encoder"),
            Column("n", "N", digits=0),
            Column("queries", "Queries", digits=0),
            Column("index_images", "Index images", digits=0),
            Column("same_patient", "Same patient"),
            Column("engine", "Engine"),
            Column("sample", "Checked", "Sample", digits=0),
            Column("differences", "Differences", "Sample", digits=0),
            Column("candidates", "Candidates, mean", digits=1),
            Column("bound", "Bound of a score's error", digits=6),
            Column("seconds", "Seconds", digits=1),
        ),
        tuple(
            (
                each.name,
                material.title_of(each.encoder),
                each.n,
                each.query_count,
                each.index_count,
                "excluded" if each.exclude_same_patient else "included",
                _engine(each),
                each.certificate.get("sample"),
                each.certificate.get("differences"),
                _within(each.certificate, "candidates", "mean"),
                _within(each.certificate, "bound", "score"),
                each.seconds,
            )
            for each in found
        ),
    )
    text = (
        "Hits are in exact order of pgvector's cosine distance. Engine pgvector asks it one statement per query; "
        "engine blocked leaves out what cannot be among the first N by a proven bound, has pgvector compute the rest, "
        "and asks a sample of the queries once more by a statement each.",
    )
    return Section("exactness", title, text, (table,))


def _engine(run: Any) -> str:
    hardware = run.certificate.get("hardware")
    return f"{run.engine} ({hardware})" if hardware else str(run.engine)


def _within(certificate: Mapping[str, Any], *path: str) -> Any:
    found: Any = certificate
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def studies(material: Material) -> Section:
    """Tables of the speed studies."""
    title = "Speed studies"
    blocks = [block for file in material.provenance.studies for block in [_study(file)] if block]
    if not blocks:
        return Section("speed", title, ("Left out: no speed study was run (medcbir bench --suite speed).",))
    text = ("Ways of doing the same work, side by side in one run: ratios count, times depend on the machine.",)
    return Section("speed", title, text, tuple(blocks))


def _study(file: Path) -> Table | None:
    if not file.is_file():
        return None
    study = json.loads(file.read_text(encoding="utf-8"))
    columns = (
        Column("case", "Work"),
        Column("way", "Way"),
        Column("items", "Items", digits=0),
        Column("unit", "Unit"),
        Column("seconds", "median", "Seconds", digits=3),
        Column("low", "from", "Seconds", digits=3),
        Column("high", "to", "Seconds", digits=3),
        Column("repeats", "Rounds", digits=0),
        Column("ratio", "Times as fast", digits=2),
        Column("peak_mib", "Peak memory, MiB", digits=0),
        Column("shares", "Where the time went"),
        Column("note", "Remark"),
    )
    rows = [
        each
        | {
            "shares": ", ".join(f"{stage} {share:.0%}" for stage, share in each["shares"].items()) or None,
            "note": each["note"] or None,
        }
        for each in study["measurements"]
    ]
    told = [column for column in columns if any(row[column.key] is not None for row in rows)]
    return Table(
        f"speed_{re.sub(r'[^A-Za-z0-9-]', '_', study['name'])}",
        f"{study['title']}, beside {study['baseline']}",
        tuple(told),
        tuple(tuple(row[column.key] for column in told) for row in rows),
        notes=tuple(filter(None, (study.get("about", ""),))),
        folded=True,
    )


def repeat(material: Material) -> Section:
    """Commands, machine, versions, and how each step went."""
    made = material.provenance
    (software,) = material.rows("report_software")
    versions = dict(made.versions) | {"PostgreSQL": software.postgresql, "pgvector": software.pgvector}
    blocks: list[Block] = [Listing(made.commands)] if made.commands else []
    for name, caption, facts in (("hardware", "Machine", made.hardware), ("versions", "Versions", versions)):
        if facts:
            rows = tuple((key, value) for key, value in facts.items())
            blocks.append(Table(name, caption, (Column("what", "What"), Column("value", "Value")), rows))
    if made.steps:
        blocks.append(
            Table(
                "steps",
                "Steps",
                (
                    Column("step", "Step"),
                    Column("status", "Status"),
                    Column("seconds", "Seconds", digits=1),
                    Column("peak_mib", "Peak memory, MiB", digits=0),
                    Column("reason", "Reason"),
                ),
                tuple(
                    (each.name, each.status, each.seconds, each.peak_mib, each.reason or None) for each in made.steps
                ),
                folded=len(made.steps) > 20,
            )
        )
    return Section("repeat", "To repeat it", (), tuple(blocks), made.notes)
