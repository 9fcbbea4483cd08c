"""A report as Markdown: the same sections, its tables in full, for a repository's page or an issue."""

from collections.abc import Sequence

from medcbir.markup import markdown
from medcbir.report import tables
from medcbir.report.sections import Block, Cases, Listing, Matrix, Section
from medcbir.report.tables import Table

_FOLDED = 30  # rows of a folded table up to which it is shown


def to_markdown(title: str, lead: str, problems: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole report; drawings, maps and pictures are in the HTML alone."""
    parts = [f"# {markdown(title)}", markdown(lead)]
    parts += [f"> **Note:** {markdown(each)}" for each in problems]
    for section in sections:
        parts.append(f"## {markdown(section.title)}")
        parts += [markdown(each) for each in section.text]
        parts += [text for block in section.blocks if (text := _block(block))]
        parts += [f"> {markdown(each)}" for each in section.notes]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        if block.folded and len(block.rows) > _FOLDED:
            return f"{markdown(block.caption)}: `tables/{block.name}.csv`, {len(block.rows)} rows."
        return tables.to_markdown(block)
    if isinstance(block, Matrix):
        return _matrix(block)
    if isinstance(block, Listing):
        lines = "\n".join(block.lines)
        fence = "`" * max(3, 1 + max((len(run) for run in _backticks(lines)), default=0))
        return f"{fence}sh\n{lines}\n{fence}"
    if isinstance(block, Cases):
        return ""
    return f"*{markdown(block.caption)}* (report.html)"


def _backticks(text: str) -> list[str]:
    return ["`" * len(part) for part in "".join(c if c == "`" else " " for c in text).split()]


def _matrix(block: Matrix) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    names = [markdown(each) for each in block.names]
    rows = [
        line([name, *("" if cell is None else markdown(cell[0]) for cell in cells)])
        for name, cells in zip(names, block.cells, strict=True)
    ]
    head = [line(["", *names]), line(["---", *("---:" for _ in names)])]
    return "\n".join([f"**{markdown(block.caption)}**", "", *head, *rows])
