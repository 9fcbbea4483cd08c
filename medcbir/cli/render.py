"""The one place that prints rows: a table for people, JSON and CSV for programs, LaTeX for papers."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import click


def render_json(value: Any) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def render_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], output: str) -> None:
    """Print rows as 'table', 'csv' or 'latex'; None is an empty cell, floats have four decimals outside CSV."""
    if output == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        click.echo(stream.getvalue(), nl=False)
    elif output == "latex":
        click.echo(_latex(columns, rows))
    else:
        _table(title, columns, rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        numeric = any(isinstance(row[number], int | float) for row in rows)
        last = number == len(columns) - 1  # long values come last, and only they are folded
        table.add_column(
            column, justify="right" if numeric else "left", overflow="fold", no_wrap=not last, min_width=12 * last
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    console.print(table)


_LATEX_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def _latex(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(values: Sequence[Any]) -> str:
        return "  " + " & ".join(_cell(value).translate(_LATEX_SPECIAL) for value in values) + r" \\"

    spec = "".join("r" if any(isinstance(row[i], int | float) for row in rows) else "l" for i in range(len(columns)))
    body = "\n".join(line(row) for row in rows)
    return "\n".join(
        (
            rf"\begin{{tabular}}{{{spec}}}",
            r"  \toprule",
            line(columns),
            r"  \midrule",
            body,
            r"  \bottomrule",
            r"\end{tabular}",
        )
    )
