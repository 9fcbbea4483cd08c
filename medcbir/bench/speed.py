"""Speed studies as steps, and what is kept of each: its measurements as JSON, a table, and a plot of ratios."""

import hashlib
import html
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from medcbir.api import Database
from medcbir.bench.bench import Bench
from medcbir.bench.place import own_database
from medcbir.bench.steps import Facts, NotApplicableError, Step
from medcbir.bench.study import Measurement, Study
from medcbir.errors import DatabaseError, InputError
from medcbir.markup import markdown
from medcbir.report.provenance import hardware
from medcbir.store.vector_files import replaced
from medcbir.types import Progress

_COLUMNS = ("work", "way", "per second", "s, median", "s, from", "s, to", "rounds", "times the baseline", "peak, MiB")


def speed_steps(bench: Bench, *, quick: bool) -> list[Step]:
    """The steps `encoding-speed` and `retrieval-speed`; `quick` for small sizes."""
    return [
        _speed_step(bench, "encoding-speed", _encoding, quick),
        _speed_step(bench, "retrieval-speed", _retrieval, quick),
    ]


def _encoding(db: Database, out: Path, quick: bool, progress: Progress) -> list[Study]:
    from medcbir.bench.encoding import encoding_study
    from medcbir.bench.scratch import scratch

    with scratch(db, out) as own:  # what comes and goes in a catalogue makes copies of its vectors out of date
        return [encoding_study(own, out, quick=quick, progress=progress)]


def _retrieval(db: Database, out: Path, quick: bool, progress: Progress) -> list[Study]:
    from medcbir.bench.retrieval import retrieval_studies

    return retrieval_studies(db, out, quick=quick, progress=progress)


def _speed_step(
    bench: Bench, kind: str, study: Callable[[Database, Path, bool, Progress], list[Study]], quick: bool
) -> Step:
    folder = bench.out / "speed"

    def inputs() -> Facts:
        return {"program": bench.program, "hardware": hardware(), "quick": quick}

    def measure(progress: Progress) -> Facts:
        try:
            with _database(bench) as db, _emptied(folder / f".{kind}") as images:
                studies = study(db, images, quick, progress)
        except (DatabaseError, InputError) as reason:  # no right to make databases, a library that is not installed
            raise NotApplicableError(str(reason)) from None
        return {"studies": {each.name: write_study(each, folder) for each in studies}}

    def hold(facts: Facts) -> bool:
        studies: dict[str, str] = facts["studies"]
        return all(
            (folder / f"{name}.json").is_file() and _sha256(folder / f"{name}.json") == digest
            for name, digest in studies.items()
        )

    return Step(kind, inputs, measure, holds=hold, estimate=lambda: 45.0 if quick else 3600.0)


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """The folder, without what a killed process has left in it; it is gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _database(bench: Bench) -> Iterator[Database]:
    """Where a study may leave its images for a while: never the database of a user's own."""
    if bench.suite.name != "paper":
        bench.db.start()
        yield bench.db
        return
    with own_database(bench.out) as db:
        yield db


def write_study(study: Study, folder: Path) -> str:
    """Write `<name>.json`, `.md` and `.svg` into `folder`; return the SHA-256 of the first."""
    for suffix, text in (
        (".json", json.dumps(asdict(study), indent=1, ensure_ascii=False)),
        (".md", to_markdown(study)),
        (".svg", to_svg(study)),
    ):
        with replaced(folder / f"{study.name}{suffix}") as draft:
            draft.write_text(text + "\n", encoding="utf-8")
    return _sha256(folder / f"{study.name}.json")


def to_markdown(study: Study) -> str:
    """The study as a section: title, table, what was measured."""
    rows = [
        (
            each.case,
            each.way,
            f"{each.rate:,.1f} {each.unit}",
            f"{each.seconds:.3f}",
            f"{each.low:.3f}",
            f"{each.high:.3f}",
            str(each.repeats),
            "" if each.ratio is None else f"{each.ratio:.2f}",
            "" if each.peak_mib is None else f"{each.peak_mib:,.0f}",
        )
        for each in study.measurements
    ]
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *rows]
    table = "\n".join(f"| {' | '.join(markdown(cell) if cell != '---' else cell for cell in line)} |" for line in lines)
    parts = [f"## {study.title}", "", table, "", f"The baseline is {study.baseline}. {study.about}"]
    shares = [f"- {each.case}, {each.way}: {_shares(each)}" for each in study.measurements if each.shares]
    notes = [f"- {each.case}, {each.way}: {each.note}" for each in study.measurements if each.note]
    return "\n".join([*parts, *(["", *shares] if shares else []), *(["", *notes] if notes else [])]).rstrip()


def to_svg(study: Study) -> str:
    """The study as horizontal bars of items per second, a group for each piece of work, with the range of rounds."""
    left, width, line = 320, 420, 22
    fastest = max((each.items / each.low for each in study.measurements if each.low > 0), default=1.0)
    drawn, y, case = [], 34.0, None
    for each in study.measurements:
        if each.case != case:
            case = each.case
            drawn.append(f'<text x="8" y="{y + 14:.0f}" font-weight="bold">{html.escape(case)}</text>')
            y += line
        bar, low, high = (width * rate / fastest for rate in (each.rate, each.items / each.high, each.items / each.low))
        told = f"{each.rate:,.0f} {each.unit}/s" + ("" if each.ratio is None else f", x {each.ratio:.2f}")
        middle = y + line / 2 - 2
        drawn += [
            f'<text x="{left - 8}" y="{y + 14:.0f}" text-anchor="end">{html.escape(each.way)}</text>',
            f'<rect x="{left}" y="{y + 2:.0f}" width="{max(bar, 1):.1f}" height="{line - 8}" fill="#4477aa"/>',
            f'<path d="M{left + low:.1f} {middle:.0f}H{left + high:.1f}" stroke="#222" stroke-width="2"/>',
            f'<text x="{left + max(bar, high) + 8:.1f}" y="{y + 14:.0f}">{html.escape(told)}</text>',
        ]
        y += line
    title = html.escape(study.title)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 240} {y + 12:.0f}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{title}: items per second, longer is faster</title>'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="20" font-size="15">{title}</text>'
    )
    return "\n".join([head, *drawn, "</svg>"])


def _shares(measurement: Measurement) -> str:
    return ", ".join(f"{stage} {share:.0%}" for stage, share in measurement.shares.items())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
