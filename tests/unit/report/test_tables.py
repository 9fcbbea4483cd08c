"""A table is the same numbers in every format, and no format lets text from data out of its cell."""

import csv
import io
import json
import re

import pytest

from medcbir.report.tables import Column, Measure, Table, number, to_csv, to_json, to_markdown

HOSTILE = [
    '=HYPERLINK("http://evil","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "-1+2",
    "+1",
    "\t=1",
    "a|b\nc",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1)) ![](http://evil/x.png) `code` **b**",
    r"\input{/etc/passwd} $x^2$ 50% #1 a_b & {c} ~",
    'quote " and , comma',
]


def table_of(text: str) -> Table:
    return Table(
        "t",
        f"Caption {text}",
        (Column("name", f"Name {text}", text), Column("value", "P@1", "Micro", digits=3, measure=True)),
        ((text, Measure(0.5, 0.4, 0.6, 0.594, -0.094, 1)), ("plain", Measure(None))),
        notes=(f"Note {text}",),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_is_read_back_and_no_cell_is_a_formula(text: str) -> None:
    header, first, second = csv.reader(io.StringIO(to_csv(table_of(text))))
    assert header[:2] == ["name", "value"]
    assert first[0].removeprefix("'") == text
    assert not first[0].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert first[1:] == ["0.5", "0.4", "0.6", "0.594", "-0.094", "1"]
    assert second == ["plain", "", "", "", "", "", ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_its_cells_and_makes_no_links_or_tags(text: str) -> None:
    lines = to_markdown(table_of(text)).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    written = "\n".join(lines)
    assert not re.search(r"(?<!\\)<(?!br>|u>|/u>)", written)
    assert not re.search(r"(?<!\\)[\[`]", written)


def test_json_has_numbers_in_full_and_text_as_it_is() -> None:
    content = json.loads(to_json(table_of("x")))
    assert content["rows"][0]["value"]["value"] == 0.5
    assert content["rows"][0]["value"]["published"] == 0.594
    assert [column["key"] for column in content["columns"]] == ["name", "value"]


def test_readers_see_digits_signs_and_a_dash_for_none() -> None:
    assert number(1234.5, 1) == "1,234.5"
    assert number(-0.0304, 3, signed=True) == "−0.030"
    assert number(0.03, 3, signed=True) == "+0.030"
    assert number(None, 3) == "–"
