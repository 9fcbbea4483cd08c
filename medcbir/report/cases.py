"""The section of pictures: queries with their six nearest images (figures 2 and 6 of Denner et al. 2024)."""

from medcbir.report.material import Material
from medcbir.report.sections import Block, Case, Cases, Section
from medcbir.report.tiles import Row, Tile, rows_of_run
from medcbir.types import Run

_NEIGHBOURS = 6
_CLASSES = 6
_EXTREMES = 3


def cases(material: Material) -> Section:
    """One query of some classes, drawn by the seed, and those answered best and worst."""
    title = "Queries and their neighbours (Figures 2 and 6)"
    best = material.headline()
    if best is None:
        return Section("neighbours", title, ("Left out: no encoder has a retrieval run.",))
    result, run, _ = best
    drawn = [
        each.query_id
        for each in material.rows("report_queries", run_id=run.run_id, seed=material.seed, classes=_CLASSES)
    ]
    n = min(_NEIGHBOURS, run.n)
    extremes = material.rows("report_extremes", run_id=run.run_id, seed=material.seed, n=n, queries=_EXTREMES)
    blocks: list[Block] = []
    for heading, query_ids in (
        ("Drawn by chance", drawn),
        ("Answered best", [each.query_id for each in extremes if each.side == "best"]),
        ("Answered worst", [each.query_id for each in extremes if each.side == "worst"]),
    ):
        rows = _rows(material, run, query_ids)
        blocks.append(Cases(heading, tuple(Case(row.query.label or "no single label", row) for row in rows)))
    if not any(tile.pixels is not None for block in blocks for tile in _tiles(block)):
        return Section(
            "neighbours",
            title,
            ("Left out: no image file is at hand; the images were catalogued without their files.",),
        )
    text = (
        f"By {material.name_of(result)}, the best by P@{material.sizes()[0]}. Queries of {_CLASSES} classes were "
        f"drawn with seed {material.seed}; best and worst are by P@{n}, at most one of each class, ties by the same "
        "seed. The number is cosine similarity. Images that are flagged to have text burned in are not shown.",
    )
    return Section("neighbours", title, text, tuple(blocks))


def _rows(material: Material, run: Run, query_ids: list[int]) -> list[Row]:
    return rows_of_run(material.connection, run, query_ids, _NEIGHBOURS, material.read) if query_ids else []


def _tiles(block: Block) -> list[Tile]:
    return (
        [tile for case in block.cases for tile in (case.row.query, *case.row.neighbours)]
        if isinstance(block, Cases)
        else []
    )
