"""Sections on retrieval: tables 2 and 3 of Denner et al. 2024, pairs of encoders, and the same patient's images."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from medcbir.errors import MedcbirError
from medcbir.evaluation.compare import LEVEL, Comparison, compare, places
from medcbir.evaluation.published import Key, beside_published
from medcbir.report import figures
from medcbir.report.contents import EncoderResults
from medcbir.report.material import Material
from medcbir.report.registry import name_of
from medcbir.report.sections import Block, Matrix, Section
from medcbir.report.tables import Cell, Column, Measure, Table, number
from medcbir.types import Definition, Metric, Run

_AVERAGES = {"micro": "Micro (over queries)", "macro": "Macro (over classes)"}


def retrieval(material: Material) -> Section:
    """Table 2: P@N of every encoder with intervals, beside the published values."""
    title = "Retrieval (Table 2)"
    if not material.retrieved:
        return Section("retrieval", title, (_missing(material),))
    runs = material.retrieved
    sizes = material.sizes()
    table = _precision(
        material,
        "retrieval",
        "2",
        runs,
        sizes,
        "paper",
        "P@N of each encoder",
    )
    capped = _precision(
        material, "retrieval_capped", "", runs, sizes, "capped", "P@N capped by the class's size in the index"
    )
    folded = replace(
        capped,
        folded=True,
        notes=("Divides by min(N, images of the class that the query may retrieve), as the published code does.",),
    )
    drawn = figures.forest(
        [(material.name_of(each), row[1]) for (each, _), row in zip(runs, table.rows, strict=True)],
        f"P@{sizes[0]}, micro",
    )
    blocks: list[Block] = [table, *([drawn] if drawn else []), folded]
    text = (
        "Precision at N is the share of a query's first N neighbours that are of its class (Denner et al. 2024, "
        "equation 1). Intervals are 95 %, by resampling patients. The best of a column is bold, the second best "
        "underlined.",
        _of_what([run for _, run in runs]),
    )
    return Section("retrieval", title, text, tuple(blocks))


def covid(material: Material) -> Section:
    """Table 3: the COVID-19 chest X-ray set."""
    title = "COVID-19 chest X-rays (Table 3)"
    named = [(each, material.run(each.covid_run)) for each in material.results if each.covid_run]
    runs = [(each, run) for each, run in named if run.labelled_queries]
    if not runs:
        return Section("covid", title, ("Left out: no run on the COVID-19 set is there.",))
    sizes = [n for n in (1, 3, 5, 10) if n <= min(run.n for _, run in runs)] or [1]
    table = _precision(
        material,
        "covid",
        "3",
        runs,
        sizes,
        "paper",
        "P@N on the COVID-19 set",
    )
    text = (
        "The set that X-MIR was trained on: pneumonia, COVID-19 and no finding. The paper used a subset of its "
        "original images, so that its values and ours are of different queries.",
        _of_what([run for _, run in runs]),
    )
    return Section("covid", title, text, (table,))


def _precision(
    material: Material,
    name: str,
    table: str,
    runs: list[tuple[EncoderResults, Run]],
    sizes: list[int],
    definition: Definition,
    caption: str,
) -> Table:
    columns = [Column("encoder", "Encoder")]
    found: list[list[Measure]] = []
    for average, group in _AVERAGES.items():
        for n in sizes:
            columns.append(Column(f"p_at_{n}_{average}", f"P@{n}", group, digits=3, measure=True))
            measures = [measure_of(_metric(material.metrics(run, sizes), n, average, definition)) for _, run in runs]
            keys = [(table, name_of(each.encoder), "retrieval", "precision", n, average) for each, _ in runs]
            found.append(accompanied(measures, keys))
    rows: list[tuple[Cell, ...]] = [
        (material.name_of(each), *(column[number] for column in found)) for number, (each, _) in enumerate(runs)
    ]
    below = [
        words
        for part, words in (("ci_low", "the 95 % interval"), ("published", "the published value and the difference"))
        if any(getattr(each, part) is not None for column in found for each in column)
    ]
    caption = f"{caption}; below it {', then '.join(below)}" if below else caption
    return Table(name, caption, tuple(columns), tuple(rows))


def measure_of(metric: Metric | None) -> Measure:
    """A metric as a cell."""
    return Measure(None) if metric is None else Measure(metric.value, metric.ci_low, metric.ci_high)


def accompanied(column: list[Measure], keys: Sequence[Key]) -> list[Measure]:
    """The cells of a column with their places and what was published in the place of each."""
    rank = places([each.value for each in column])
    return [
        replace(each, place=place, **asdict(beside_published(each.value, key)))
        for each, place, key in zip(column, rank, keys, strict=True)
    ]


def _metric(metrics: list[Metric], n: int, average: str, definition: str) -> Metric | None:
    wanted = (n, average, definition)
    return next((each for each in metrics if (each.n, each.average, each.definition) == wanted), None)


def _of_what(runs: list[Run]) -> str:
    sizes = {(run.labelled_queries, run.index) for run in runs}
    if len(sizes) == 1:
        ((queries, index),) = sizes
        return f"{queries:,} queries with exactly one label, among {index:,} index images, in exact cosine order."
    return (
        "Attention: the encoders do not have the same queries and index images, so their numbers are of different "
        "tasks; the numbers of both are under Exactness."
    )


def pairs(material: Material) -> Section:
    """Every encoder against every other on their common queries."""
    title = "Encoder against encoder"
    if len(material.retrieved) < 2:
        return Section("pairs", title, ("Left out: a comparison needs the runs of two encoders.",))
    n = material.sizes()[0]
    runs = [run for _, run in material.retrieved]
    try:
        compared = compare(material.connection, runs, [n])
    except MedcbirError as error:
        return Section("pairs", title, (f"Left out: {error}.",))
    of = {run.name: material.name_of(each) for each, run in material.retrieved}
    differences = [each for each in compared.differences if each.definition == "paper"]
    keys = (
        ("difference", "Difference", 3),
        ("ci_low", "95 % from", 3),
        ("ci_high", "to", 3),
        ("p", "p", 4),
        ("p_holm", "p, Holm", 4),
    )
    table = Table(
        "pairs",
        f"Differences of P@{n}, first less second",
        (
            Column("first", "First"),
            Column("second", "Second"),
            Column("average", "Average"),
            Column("queries", "Queries", digits=0),
            *(Column(key, head, digits=digits, signed=digits == 3) for key, head, digits in keys),
        ),
        tuple(
            (
                of[each.first],
                of[each.second],
                each.average,
                each.queries,
                *(getattr(each, key) for key, *_ in keys),
            )
            for each in differences
        ),
        folded=True,
    )
    matrices = [
        Matrix(
            f"P@{n}, {average}: row less column",
            tuple(of[run.name] for run in runs),
            tuple(tuple(_cell(compared, average, row.name, column.name) for column in runs) for row in runs),
        )
        for average in _AVERAGES
    ]
    text = (
        f"On the {compared.queries:,} queries of {compared.patients:,} patients that all encoders answered. A star "
        f"marks a difference with p below {LEVEL} after Holm's correction for all pairs; p by randomly exchanging "
        "the two encoders' answers, patient by patient.",
    )
    return Section("pairs", title, text, (*matrices, table), compared.warnings)


def _cell(compared: Comparison, average: str, row: str, column: str) -> tuple[str, str, str] | None:
    wanted = (row, column, average, "paper")
    for each in compared.both_ways():
        if (each.first, each.second, each.average, each.definition) == wanted and each.difference is not None:
            tone = "even" if not each.significant else "above" if each.difference > 0 else "below"
            text = f"{number(each.difference, 3, signed=True)}{'*' if each.significant else ''}"
            return text, tone, f"p after Holm {number(each.p_holm, 4)}"
    return None


def leakage(material: Material) -> Section:
    """What P@N gains where a query may find images of its own patient."""
    title = "Leakage: the query's own patient"
    both = [
        (each, material.run(each.same_patient_run), run) for each, run in material.retrieved if each.same_patient_run
    ]
    if not both:
        return Section(
            "leakage", title, ("Left out: no run that may retrieve the query's own patient is there to compare with.",)
        )
    n = material.sizes()[0]
    found = [
        (result, each)
        for result, included, excluded in both
        for each in compare(material.connection, [included, excluded], [n]).differences
        if each.definition == "paper"
    ]
    table = Table(
        "leakage",
        f"P@{n} with and without other images of the query's patient",
        (
            Column("encoder", "Encoder"),
            Column("average", "Average"),
            Column("included", "Same patient included", digits=3),
            Column("excluded", "Same patient excluded", digits=3),
            Column("gap", "Gap", digits=3, signed=True),
            Column("ci_low", "95 % from", digits=3, signed=True),
            Column("ci_high", "to", digits=3, signed=True),
        ),
        tuple(
            (
                material.name_of(result),
                each.average,
                each.first_value,
                each.second_value,
                each.difference,
                each.ci_low,
                each.ci_high,
            )
            for result, each in found
        ),
    )
    text = (
        "Neighbouring slices of one examination are almost the same picture: finding them says nothing about finding "
        "similar cases. The gap is what such neighbours add; where a dataset names no patients, they cannot be told.",
    )
    return Section("leakage", title, text, (table,))


def _missing(material: Material) -> str:
    failures = [f"{material.title_of(each.encoder)}: {reason}" for each in material.results for reason in each.failures]
    return "Left out: no encoder has a retrieval run." + (f" {'; '.join(failures)}." if failures else "")
