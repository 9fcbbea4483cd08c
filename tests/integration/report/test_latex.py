"""Every LaTeX table is well formed: environments, braces, columns, and no character that TeX would take for its own."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from medcbir.report.tables import Column, Measure, Table, to_latex

PACKAGES = {"fontenc", "booktabs", "longtable"}
"""Those that docs/report.md names; each with the commands and environments that are used of it below."""

COMMANDS = re.compile(
    "begin|end|caption|centering|setlength|abovecaptionskip|belowcaptionskip|tabcolsep|linewidth|multicolumn|par"
    "|footnotesize|scriptsize|textbf|underline|toprule|midrule|cmidrule|bottomrule|endhead|textbackslash|textasciitilde"
    "|textasciicircum|textasciigrave|textless|textgreater|textbar|textquotedbl|textendash|times|pm"
)
KNOWN = {*map(chr, range(0xA1, 0x17F)), *"—‘’“”„…"} - {*"ĦħĸĿŀŉŦŧ"}
"""Beyond ASCII, what pdflatex prints in fonts of encoding T1."""

HOSTILE = [
    "[2mm] after the end of a row",
    "* and [a] & b",
    r"50 % #1 a_b & {c} ~ ^ \input{/etc/passwd} $x^2$",
    "<script>alert(1)</script> ![](http://evil/x.png) `code` **b** a|b\nc",
    'a "quote", `tick`, <tag> | bar -- dash --- longer',
    "Ménière, Grübchen, Łódź, ∆ and ħ and 脳 and \t tab \x07",
    "1 × 2 ± 3 − 4 – 5",
    "}",
    "\\",
]


def sizes(text: str) -> int:
    """How many columns a specification has."""
    columns = re.sub(r"p\{[\d.]+\\linewidth\}", "p", text)
    assert re.fullmatch("[lrp]+", columns), text
    return len(columns)


def cells(row: str) -> int:
    """How many columns a row fills."""
    spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", row)]
    return len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) - len(spans)


def check(text: str) -> None:
    head, *lines = text.rstrip("\n").split("\n")
    assert set(re.findall(r"\{(\w+)\}", head)) <= PACKAGES
    assert not {each for each in text if not each.isascii()} - KNOWN
    body = "\n".join(lines)
    assert [each for each in re.findall(r"\\([a-zA-Z]+)", body) if not COMMANDS.fullmatch(each)] == []
    assert set(re.findall(r"\\([^a-zA-Z])", body)) <= set("\\&%$#_{}")
    open_environments: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert open_environments == []
    assert ("longtable" in body) == ("longtable" in head)
    bare = re.sub(r"\\[\\&%$#_{}]", "", body)
    for line in bare.split("\n"):
        depth = 0
        for each in line:
            depth += {"{": 1, "}": -1}.get(each, 0)
            assert depth >= 0, line
        assert depth == 0, line
    assert not re.search("[%#_^]", bare)
    assert re.fullmatch(r"(?:[^$]|\$(?:-|\\times|\\pm)\$)*", bare, re.DOTALL)
    [specification] = re.findall(r"\\begin\{(?:tabular|longtable)\}\{(.*)\}$", body, re.MULTILINE)
    inside = re.split(r"\\(?:toprule|bottomrule)", body)[1]
    rows = [
        line
        for line in inside.strip().split("\n")
        if not re.fullmatch(r"\\(midrule|endhead|cmidrule\(lr\)\{\d+-\d+\})", line)
    ]
    assert rows
    for row in rows:
        assert row.endswith(r"\\")
        assert not row.startswith(("[", "*"))
        assert cells(row.removesuffix(r"\\")) == sizes(specification), row
    for first, last in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", body):
        assert 1 <= int(first) <= int(last) <= sizes(specification)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("rows", [2, 60])
def test_a_table_of_hostile_texts(text: str, rows: int) -> None:
    row = (text, text * 4, Measure(0.5, 0.4, 0.6, 0.594, -0.094, 1), None)
    columns = (
        *(Column("a", text), Column("b", text, text), Column("c", "P@1", text, digits=3, measure=True)),
        Column("d", "N", digits=0),
    )
    check(to_latex(Table("t", f"Caption {text}", columns, (row,) * rows, notes=(text,))))


def test_every_table_of_a_report(reported: SimpleNamespace) -> None:
    files: list[Path] = [file for file in reported.files if file.suffix == ".tex"]
    assert len(files) > 12
    for file in files:
        check(file.read_text(encoding="utf-8"))


def broken() -> Iterator[tuple[str, str]]:
    yield r"\end{tabular}", ""
    yield " & ", " "
    yield r"\textbf{", r"\textbf{{"
    yield r"\&", "&"
    yield r"\%", "%"
    yield r"\centering", r"\centering\usepackage{x}"


@pytest.mark.parametrize(("good", "bad"), broken())
def test_the_check_notices(good: str, bad: str) -> None:
    columns = (Column("a", "A & B"), Column("b", "50 %", digits=3, measure=True))
    text = to_latex(Table("t", "Caption", columns, (("x & y", Measure(0.5, place=1)), ("z", Measure(0.4)))))
    check(text)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check(text.replace(good, bad, 1))
