"""What a report consists of: sections of text, tables, figures and pictures, which HTML and Markdown both render."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medcbir.report.tables import Table
from medcbir.report.tiles import Row


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing: `svg` is an element whose colours are variables of the stylesheet, `alt` its content in words."""

    name: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True, slots=True)
class Case:
    """A query with its neighbours, under what it is an example of."""

    title: str
    row: Row


@dataclass(frozen=True, slots=True)
class Cases:
    """Pictures of queries with their neighbours (Denner et al. 2024, figures 2 and 6)."""

    title: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every encoder against every other: `cells[i][j]` is (text, tone, words) of row less column, None for itself.

    A tone is 'above', 'below' or 'even'.
    """

    caption: str
    names: tuple[str, ...]
    cells: tuple[tuple[tuple[str, str, str] | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A still picture of a map: a PNG as a data URI, and what its colours mean, by number of the palette."""

    title: str
    alt: str
    picture: str
    legend: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class PointMap:
    """A map of images (figure 5): `about` and `data` are what templates/map.js draws, `panels` what is printed."""

    caption: str
    images: int
    about: Mapping[str, Any]
    data: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines for a shell."""

    lines: tuple[str, ...]


Block = Table | Figure | Cases | Matrix | PointMap | Listing


@dataclass(frozen=True, slots=True)
class Section:
    """A part with a heading: `key` is its address, `text` stands before the blocks.

    One without blocks says in its text why it has none.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    notes: tuple[str, ...] = ()
