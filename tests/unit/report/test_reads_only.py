"""The report computes no number: what makes its sections has no arithmetic, and neither have the templates."""

import ast
import re
from collections.abc import Iterator
from importlib.resources import files

import pytest

DRAWING = {"figures.py", "grid.py", "map_figure.py", "render.py", "tables.py", "markdown.py", "tiles.py"}
"""Modules that compute where something is drawn, and how a number is written."""

SECTIONS = sorted(
    each.name
    for each in files("medcbir.report").iterdir()
    if each.name.endswith(".py") and each.name not in {*DRAWING, "provenance.py", "run_files.py"}
)
COMPUTING = {"abs", "divmod", "fsum", "mean", "median", "pow", "round", "stdev", "sum"}


def arithmetic(source: str) -> Iterator[str]:
    """Where numbers may be computed: operators but those that join texts, lists, paths and sets; calls that add up."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AugAssign) and not holds_several(node.value):
            yield ast.unparse(node)
        if isinstance(node, ast.BinOp) and not (
            joins(node.op) or holds_several(node.left) or holds_several(node.right)
        ):
            yield ast.unparse(node)
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            and not isinstance(node.operand, ast.Constant)
        ):
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in COMPUTING:
            yield ast.unparse(node)
        if isinstance(node, ast.Import | ast.ImportFrom) and re.search("numpy|statistics|math", ast.unparse(node)):
            yield ast.unparse(node)


def joins(operator: ast.operator) -> bool:
    return isinstance(operator, ast.BitOr | ast.BitAnd)


def holds_several(node: ast.expr) -> bool:
    """Whether this is a text or a collection, so that an operator beside it computes no number."""
    several = isinstance(node, ast.JoinedStr | ast.List | ast.ListComp | ast.Tuple | ast.Set)
    return several or (isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("module", SECTIONS)
def test_what_makes_sections_computes_nothing(module: str) -> None:
    assert list(arithmetic(files("medcbir.report").joinpath(module).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line", ["x = a - b", "x = a / len(b)", "x += each.count", "x = -a", "x = sum(a)", "x = a + 1"]
)
def test_arithmetic_is_recognised(line: str) -> None:
    assert list(arithmetic(line))


def test_templates_compute_nothing_but_the_widths_of_bars() -> None:
    computed = [
        expression
        for each in files("medcbir.report").joinpath("templates").iterdir()
        if each.name.endswith(".html")
        for expression in re.findall(r"{{(.*?)}}|{%(.*?)%}", each.read_text(encoding="utf-8"))
        for expression in expression
        if re.search(r"[\w)\]] [-+*/]{1,2} [\w(]|\| ?(sum|round|abs)\b", expression)
    ]
    assert [each.strip() for each in computed] == [f"'%.1f' | format(100 * ({each} or 0))" for each in ("one", "two")]
