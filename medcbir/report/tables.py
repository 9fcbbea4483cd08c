"""Typed tables, and how they become CSV, LaTeX, Markdown and JSON; HTML is templates/blocks.html.

CSV and JSON have numbers as they are in the database, to twelve decimals, the others to the digits shown. Text comes
from data and is hostile: each format escapes it.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from medcbir.markup import csv_text, latex, markdown

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
_DIGITS = 12  # in CSV and JSON
_PAGE = 40  # rows that a page of LaTeX holds
_ROOMY = 6  # columns that fit without being set closer
_LONG, _PARAGRAPHS = 30, 0.5  # characters beyond which text is set in a paragraph, and the line's share for all of them


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its 95 % interval, the published value of the same and how much ours is above it.

    `place` is 1 for the best of its column and 2 for the second best.
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    published: float | None = None
    difference: float | None = None
    place: int | None = None


Cell = Measure | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `key` for programs, `title` for readers, `group` above several; `digits` are decimals of a number.

    `measure` says that the cells are a `Measure`, `signed` that a plus is shown.
    """

    key: str
    title: str
    group: str = ""
    digits: int | None = None
    signed: bool = False
    measure: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers, which are set to the right."""
        return self.digits is not None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns; the first column names the row. `name` is that of its files."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    folded: bool = False

    def headings(self) -> list[tuple[str, int]]:
        """The groups above the columns, each with its width."""
        return [(group, len(list(columns))) for group, columns in groupby(self.columns, lambda column: column.group)]


def shown(value: Cell, column: Column) -> str:
    """A cell as readers see it, without what accompanies a measure."""
    if isinstance(value, Measure):
        return number(value.value, column.digits or 0)
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return number(value, column.digits or 0, signed=column.signed)


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """A number to so many decimals, thousands apart, a minus as long as a plus; a dash for none."""
    if value is None:
        return DASH
    rounded = 0.0 if round(value, digits) == 0 else value  # no minus before a zero
    return f"{rounded:{'+' if signed else ''},.{digits}f}".replace("-", MINUS)


def percent(share: float) -> str:
    """A share of 1 in percent."""
    return f"{share:.1%}".replace("%", " %")


def interval(cell: Measure, digits: int) -> str:
    """The 95 % interval in words, empty where there is none."""
    if cell.ci_low is None or cell.ci_high is None:
        return ""
    return f"{number(cell.ci_low, digits)}{DASH}{number(cell.ci_high, digits)}"


def beside(cell: Measure, digits: int) -> str:
    """The published value and the difference, empty where nothing was published."""
    if cell.published is None:
        return ""
    difference = "" if cell.difference is None else f" {number(cell.difference, digits, signed=True)}"
    return f"{number(cell.published, digits)}{difference}"


def _settled(value: Any) -> Any:
    """A number to so many digits as do not depend on the order in which the database has added it up."""
    return round(value, _DIGITS) if isinstance(value, float) else value


def to_csv(table: Table) -> str:
    """One line per row under a line of keys; a measure becomes several columns."""
    parts = ("ci_low", "ci_high", "published", "difference", "place")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header: list[str] = []
    for column in table.columns:
        header += [column.key, *(f"{column.key}_{part}" for part in parts if column.measure)]
    writer.writerow(header)
    for row in table.rows:
        cells: list[Any] = []
        for cell in row:
            if isinstance(cell, Measure):
                cells += [_settled(cell.value), *(_settled(getattr(cell, part)) for part in parts)]
            else:
                cells.append(csv_text(cell) if isinstance(cell, str) else _settled(cell))
        writer.writerow(cells)
    return stream.getvalue()


def to_json(table: Table) -> str:
    """An object with name, caption, columns, rows by key, and notes."""
    columns = [{"key": each.key, "title": each.title, "group": each.group} for each in table.columns]
    keys = [column.key for column in table.columns]
    rows = [
        {
            key: {part: _settled(value) for part, value in asdict(cell).items()}
            if isinstance(cell, Measure)
            else _settled(cell)
            for key, cell in zip(keys, row, strict=True)
        }
        for row in table.rows
    ]
    content = {
        "name": table.name,
        "caption": table.caption,
        "columns": columns,
        "rows": rows,
        "notes": list(table.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def to_markdown(table: Table) -> str:
    """A table for GitHub's and other Markdown, its caption in bold above it."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    head = [" ".join(part for part in (each.group, each.title) if part) for each in table.columns]
    lines = [
        f"**{markdown(table.caption)}**",
        "",
        line([markdown(each) for each in head]),
        line(["---:" if column.numeric else "---" for column in table.columns]),
        *(
            line([_markdown_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)])
            for row in table.rows
        ),
    ]
    for note in table.notes:
        lines += ["", markdown(note)]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell, column: Column) -> str:
    text = markdown(shown(cell, column))
    if not isinstance(cell, Measure):
        return text
    digits = column.digits or 0
    text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.place or 0, text)
    published = beside(cell, digits)
    return "<br>".join(
        part for part in (text, interval(cell, digits), f"paper {published}" if published else "") if part
    )


def to_latex(table: Table) -> str:
    """A `table` with a caption, a `longtable` where it has more rows than a page; the first line names the packages."""
    long = len(table.rows) > _PAGE
    columns = table.columns
    long_ones = [place for place in range(len(columns)) if _is_long(table, place)]
    paragraph = rf"p{{{_PARAGRAPHS / max(1, len(long_ones)):.2f}\linewidth}}"
    spec = "".join(
        "r" if column.numeric else paragraph if place in long_ones else "l" for place, column in enumerate(columns)
    )
    head = [_latex_line([latex(column.title) for column in columns]), r"\midrule"]
    if any(column.group for column in columns):
        over = [rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}" for group, width in table.headings()]
        head = [_latex_line(over), *_latex_rules(table.headings()), *head]
    body = [_latex_line(cells) for row in table.rows for cells in _latex_lines(row, columns)]
    notes = [rf"\par\footnotesize {latex(note)}" for note in table.notes]
    caption = rf"\caption{{{latex(table.caption)}}}"
    packages = r"% needs \usepackage[T1]{fontenc}, \usepackage{booktabs}"
    if long:
        lines = [rf"\begin{{longtable}}{{{spec}}}", rf"{caption} \\", r"\toprule", *head, r"\endhead"]
        lines += [*body, r"\bottomrule", r"\end{longtable}", *(f"{{{note}\\par}}" for note in notes)]
        return "\n".join([rf"{packages}, \usepackage{{longtable}}", *lines]) + "\n"
    narrow = [r"\footnotesize\setlength{\tabcolsep}{3pt}"] if len(columns) > _ROOMY else []
    above = r"\setlength{\abovecaptionskip}{0pt}\setlength{\belowcaptionskip}{6pt}"
    lines = [
        r"\begin{table}",
        rf"\centering{above}",
        caption,
        *narrow,
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        *head,
    ]
    return "\n".join([packages, *lines, *body, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}"]) + "\n"


def _latex_line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _is_long(table: Table, place: int) -> bool:
    """Whether a column holds text that is better set as a paragraph."""
    return any(isinstance(row[place], str) and len(str(row[place])) > _LONG for row in table.rows)


def _latex_rules(headings: Sequence[tuple[str, int]]) -> list[str]:
    """A rule below each group of columns."""
    rules, first = [], 1
    for group, width in headings:
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return rules


def _latex_lines(row: Sequence[Cell], columns: Sequence[Column]) -> list[list[str]]:
    """A row, and below its measures' intervals and published values where there are any."""
    marks = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
    values: list[str] = []
    below: list[str] = []
    published: list[str] = []
    for cell, column in zip(row, columns, strict=True):
        text = latex(shown(cell, column))
        place = cell.place if isinstance(cell, Measure) else None
        values.append(marks[place] % text if place in marks else text)
        for cells, of in ((below, interval), (published, beside)):
            small = of(cell, column.digits or 0) if isinstance(cell, Measure) else ""
            cells.append(rf"{{\scriptsize {latex(small)}}}" if small else "")
    if any(published):
        published[0] = r"{\scriptsize published, difference}"
    return [values, *([below] if any(below) else []), *([published] if any(published) else [])]
