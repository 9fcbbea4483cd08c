"""The one place that prints rows: a table for people, JSON and CSV for programs, LaTeX for papers."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import click

from medcbir.markup import latex, markdown


def render_json(value: Any) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def render_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], output: str) -> None:
    """Print rows as 'table', 'csv', 'latex' or 'markdown'; None is empty, floats have four decimals (not in CSV)."""
    if output == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        click.echo(stream.getvalue(), nl=False)
    elif output == "latex":
        click.echo(_latex(columns, rows))
    elif output == "markdown":
        click.echo(_markdown(columns, rows))
    else:
        _table(title, columns, rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _numeric(rows: Sequence[Sequence[Any]], column: int) -> bool:
    return any(isinstance(row[column], int | float) for row in rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        numeric = _numeric(rows, number)
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


def _latex(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(values: Sequence[Any]) -> str:
        return "  " + " & ".join(latex(_cell(value)) for value in values) + r" \\"

    spec = "".join("r" if _numeric(rows, i) else "l" for i in range(len(columns)))
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


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(values: Sequence[str]) -> str:
        return f"| {' | '.join(values)} |"

    return "\n".join(
        (
            line([markdown(column) for column in columns]),
            line(["---:" if _numeric(rows, number) else "---" for number in range(len(columns))]),
            *(line([markdown(_cell(value)) for value in row]) for row in rows),
        )
    )
