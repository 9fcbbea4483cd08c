"""Queries with their neighbours as one PNG, after Figures 2 and 6 of Denner et al. 2024.

A query is framed orange, a neighbour of its class green with a check mark, one of another class red with a cross;
frames are grey where the classes are not known. Neighbours stand in the order of their rank.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from medcbir.report.tiles import Neighbour, Read, Row, Tile, captioned, catalogued_tiles, letterbox, shrunk
from medcbir.store.connection import Connection
from medcbir.types import Hit, UInt8Image

Colour = tuple[int, int, int]

QUERY: Colour = (245, 166, 35)
RELEVANT: Colour = (38, 178, 127)
OTHER: Colour = (226, 82, 82)
UNKNOWN: Colour = (128, 134, 145)

_GROUND: Colour = (22, 24, 29)
_HOLLOW: Colour = (36, 39, 46)
_TEXT: Colour = (236, 238, 242)
_QUIET: Colour = (160, 167, 178)

PER_LINE = 6  # neighbours, as in the paper
TILE = 232  # side of a picture, pixels
FRAME = 6
_CAPTION = 58
_GAP = 16
_ASIDE = 36  # between a query and its neighbours
_MARGIN = 36
_TITLE = 38
_LEGEND = 44

_CELL = TILE + 2 * FRAME
_LINE = _CELL + _CAPTION


def save_grid(
    connection: Connection,
    file: Path,
    hits: Sequence[Hit],
    *,
    image: str | Path | UInt8Image | None,
    image_id: int | None,
    read: Read,
) -> None:
    """Write a PNG of one query and its hits. Relevance is known where the query is a catalogued image with one label.

    Raises `OSError` where `file` cannot be written.
    """
    asked = [] if image_id is None else [image_id]
    tiles = catalogued_tiles(connection, [*asked, *(hit.image_id for hit in hits)], read)
    if image_id is not None:
        query = tiles[image_id]
    else:
        query = Tile(None if image is None else shrunk(read(image) if isinstance(image, str | Path) else image))
    neighbours = [
        Neighbour(hit.image_id, hit.rank, hit.similarity, _same(query.label, tiles[hit.image_id].label)) for hit in hits
    ]
    draw_grid([Row(query, captioned(neighbours, tiles))]).save(file, format="PNG", optimize=True)


def draw_grid(rows: Sequence[Row]) -> Image.Image:
    """An RGB picture of `rows`, six neighbours to a line; a query's further neighbours go on below."""
    lines = [_lines(row) for row in rows]
    widest = max((len(tiles) for row in lines for tiles in row), default=0)
    width = 2 * _MARGIN + _CELL + (_ASIDE + widest * (_CELL + _GAP) - _GAP if widest else 0)
    titles = sum(_is_titled(rows, number) for number in range(len(rows)))
    height = 2 * _MARGIN + _LEGEND + titles * _TITLE + sum(len(row) * (_LINE + _GAP) for row in lines)
    picture = Image.new("RGB", (max(width, 820), height), _GROUND)
    pen = ImageDraw.Draw(picture)
    top = _MARGIN
    for number, (row, each) in enumerate(zip(rows, lines, strict=True)):
        if _is_titled(rows, number):
            pen.text((_MARGIN, top), row.title, _TEXT, font=ImageFont.load_default(size=21))
            top += _TITLE
        _draw_tile(picture, _MARGIN, top, row.query, QUERY)
        for tiles in each:
            for column, tile in enumerate(tiles):
                left = _MARGIN + _CELL + _ASIDE + column * (_CELL + _GAP)
                _draw_tile(picture, left, top, tile, _frame_colour(tile))
            top += _LINE + _GAP
    _draw_legend(pen, top + _GAP, rows)
    return picture


def _same(one: str | None, other: str | None) -> bool | None:
    return None if one is None or other is None else one == other


def _is_titled(rows: Sequence[Row], number: int) -> bool:
    """Whether the row has a title of its own: one that goes on from the row above is not repeated."""
    return bool(rows[number].title) and (number == 0 or rows[number].title != rows[number - 1].title)


def _lines(row: Row) -> list[tuple[Tile, ...]]:
    starts = range(0, len(row.neighbours), PER_LINE) or range(1)
    return [row.neighbours[start : start + PER_LINE] for start in starts]


def _frame_colour(tile: Tile) -> Colour:
    return UNKNOWN if tile.relevant is None else RELEVANT if tile.relevant else OTHER


def _draw_tile(picture: Image.Image, left: int, top: int, tile: Tile, colour: Colour) -> None:
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=colour)
    if tile.pixels is None:
        inner = (left + FRAME, top + FRAME, left + _CELL - FRAME - 1, top + _CELL - FRAME - 1)
        pen.rectangle(inner, fill=_HOLLOW)
        centre = (left + _CELL // 2, top + _CELL // 2)
        pen.text(centre, tile.missing, _QUIET, font=ImageFont.load_default(size=18), anchor="mm")
    else:
        picture.paste(letterbox(tile.pixels, TILE), (left + FRAME, top + FRAME))
    under = top + _CELL + 8
    if tile.rank is None:
        pen.text((left, under), "Query", QUERY, font=ImageFont.load_default(size=18))
    else:
        _draw_mark(pen, left + 9, under + 11, tile.relevant)
        pen.text((left + 28, under), f"{tile.rank}", _TEXT, font=ImageFont.load_default(size=18))
        similarity = "" if tile.similarity is None else f"{tile.similarity:.3f}"
        pen.text((left + _CELL, under), similarity, _TEXT, font=ImageFont.load_default(size=18), anchor="ra")
    label = _fitted(pen, tile.label or ("" if tile.rank is None else "no single label"), _CELL)
    pen.text((left, under + 25), label, _QUIET, font=ImageFont.load_default(size=16))


def _draw_mark(pen: ImageDraw.ImageDraw, x: int, y: int, relevant: bool | None) -> None:
    """A disc around (x, y) with a check mark, a cross, or a dash: what the frame's colour says, without colour."""
    pen.ellipse((x - 9, y - 9, x + 9, y + 9), fill=UNKNOWN if relevant is None else RELEVANT if relevant else OTHER)
    if relevant is None:
        strokes: list[list[tuple[int, int]]] = [[(x - 4, y), (x + 4, y)]]
    elif relevant:
        strokes = [[(x - 5, y), (x - 1, y + 4), (x + 5, y - 4)]]
    else:
        strokes = [[(x - 4, y - 4), (x + 4, y + 4)], [(x - 4, y + 4), (x + 4, y - 4)]]
    for stroke in strokes:
        pen.line(stroke, fill=_GROUND, width=3, joint="curve")


def _draw_legend(pen: ImageDraw.ImageDraw, top: int, rows: Sequence[Row]) -> None:
    words = {True: "same class as the query", False: "another class", None: "class not known"}
    shown = {tile.relevant for row in rows for tile in row.neighbours}
    font = ImageFont.load_default(size=17)

    def word(text: str, left: int) -> int:
        pen.text((left, top + 10), text, _QUIET, font=font, anchor="lm")
        return left + round(pen.textlength(text, font)) + 36

    pen.rectangle((_MARGIN, top + 1, _MARGIN + 18, top + 19), outline=QUERY, width=4)
    left = word("query", _MARGIN + 28)
    for relevant in (each for each in words if each in shown):
        _draw_mark(pen, left + 9, top + 10, relevant)
        left = word(words[relevant], left + 28)
    word("number: cosine similarity", left)


def _fitted(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    font = ImageFont.load_default(size=16)
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(f"{text}...", font) > width:
        text = text[:-1]
    return f"{text}..."
