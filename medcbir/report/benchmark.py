"""A benchmark's report: report.html, report.md, and every table as CSV, LaTeX and JSON.

No number is computed here: views and the typed rows of `medcbir.evaluation` have them all.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from medcbir.errors import RunError
from medcbir.report import figures
from medcbir.report.cases import cases
from medcbir.report.catalogue import data, encoders
from medcbir.report.classes import classes, groups, index_size
from medcbir.report.classification import classification
from medcbir.report.contents import EncoderResults, Provenance
from medcbir.report.making import cost, exactness, repeat, studies
from medcbir.report.map_figure import image_map
from medcbir.report.markdown import to_markdown
from medcbir.report.material import Material
from medcbir.report.precision import covid, leakage, pairs, retrieval
from medcbir.report.render import packaged, render
from medcbir.report.sections import Section
from medcbir.report.tables import Table, number, percent, to_csv, to_json, to_latex
from medcbir.report.tiles import Read
from medcbir.store.connection import Connection
from medcbir.types import Progress, Silent

SECTIONS: tuple[Callable[[Material], Section], ...] = (
    retrieval,
    cases,
    classes,
    groups,
    leakage,
    covid,
    classification,
    pairs,
    index_size,
    image_map,
    cost,
    data,
    encoders,
    exactness,
    studies,
    repeat,
)
"""In the order in which they are read."""


def write_benchmark(
    connection: Connection,
    out: Path,
    results: Sequence[EncoderResults],
    provenance: Provenance,
    *,
    read: Read,
    encoders_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write report.html, report.md and tables/NAME.csv, .tex and .json into `out`; return the files.

    The same results give the same bytes, times aside. `read` decodes the pictures that are shown; `encoders_dir` has
    the files that describe a user's own encoders. A section whose numbers are not there says why. Raises `RunError` for
    an empty `results`, `OSError` where `out` cannot be written.
    """
    if not results:
        raise RunError("there is nothing to report: retrieve first with `medcbir retrieve --encoder NAME`")
    progress = progress or Silent()
    material = Material(connection, results, provenance, read, encoders_dir)
    progress.begin("report", "sections", len(SECTIONS))
    sections = []
    for make in SECTIONS:
        sections.append(make(material))
        progress.advance(1)
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "report.html", out / "report.md"]
    title, lead = _title(material), _lead(material)
    problems = tuple(f"{material.title_of(each.encoder)}: {reason}" for each in results for reason in each.failures)
    if not figures.available():
        problems = (*problems, figures.MISSING)
    page = render(
        "benchmark.html",
        script=packaged("map.js") if any(each.key == "map" and each.blocks for each in sections) else "",
        title=title,
        lead=lead,
        suite=provenance.suite,
        facts=_facts(material),
        problems=problems,
        sections=sections,
        series=figures.SERIES,
    )
    written[0].write_text(page, encoding="utf-8")
    written[1].write_text(to_markdown(title, lead, problems, sections), encoding="utf-8")
    folder = out / "tables"
    folder.mkdir(exist_ok=True)
    for table in (block for section in sections for block in section.blocks if isinstance(block, Table)):
        for suffix, form in ((".csv", to_csv), (".tex", to_latex), (".json", to_json)):
            written.append(folder / f"{table.name}{suffix}")
            written[-1].write_text(form(table), encoding="utf-8", newline="")
    return written


def _title(material: Material) -> str:
    count = len({each.encoder for each in material.results})
    return f"Medical image retrieval by {count} encoder{'s' if count != 1 else ''}"


def _lead(material: Material) -> str:
    best = material.headline()
    if best is None:
        return "No encoder has been retrieved with yet; what there is so far is below."
    result, run, metric = best
    if metric.n != 1 or metric.value is None:
        return f"{material.name_of(result)} has the highest P@{metric.n}: {number(metric.value, 3)}."
    ends = [percent(each) for each in (metric.ci_low, metric.ci_high) if each is not None]
    within = f" (95 % interval {' to '.join(ends)})" if ends else ""
    by = "By {}" if len(material.retrieved) == 1 else "Best is {}:"
    return (
        f"{by.format(material.name_of(result))} the nearest image is of the query's class for {percent(metric.value)} "
        f"of {run.labelled_queries:,} queries{within}, among {run.index:,} index images, in exact cosine order."
    )


def _facts(material: Material) -> list[tuple[str, str]]:
    best = material.headline()
    facts = [("Encoders", f"{len({each.encoder for each in material.results})}")]
    if best is None:
        return facts
    result, run, metric = best
    return [
        ("Index images", f"{run.index:,}"),
        ("Queries", f"{run.labelled_queries:,}"),
        *facts,
        ("Best encoder", material.name_of(result)),
        (f"Its P@{metric.n}, micro", number(metric.value, 3)),
    ]
