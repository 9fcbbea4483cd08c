"""Queries and their neighbours as small pictures with a caption: what a grid draws and a page embeds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from psycopg.rows import namedtuple_row

from medcbir.errors import MedcbirError
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Run, UInt8Image

_LARGEST_SIDE = 512  # of a picture held in memory, pixels


class Read(Protocol):
    """Decodes one frame of an image file to what a viewer would show; raises a `MedcbirError` where it cannot."""

    def __call__(self, path: str | Path, frame: int = 0) -> UInt8Image:
        """Pixels (H, W) or (H, W, 3) uint8."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture with its caption: `relevant` says whether it shares the query's class, None where that is unknown.

    `pixels` is None for an image that cannot be shown; `missing` then says why.
    """

    pixels: UInt8Image | None
    label: str | None = None
    rank: int | None = None
    similarity: float | None = None
    relevant: bool | None = None
    missing: str = "no image file"


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its neighbours, nearest first; `title` tells it from another row of the same query."""

    query: Tile
    neighbours: tuple[Tile, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A retrieved image before it is a picture."""

    image_id: int
    rank: int
    similarity: float
    relevant: bool | None


def shrunk(pixels: UInt8Image) -> UInt8Image:
    """A picture no larger than a tile needs, of the same shape."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def letterbox(pixels: UInt8Image, side: int) -> Image.Image:
    """RGB `side` x `side`: the picture as large as fits, undistorted, in the middle of black."""
    picture = Image.fromarray(pixels).convert("RGB")
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new("RGB", (side, side))
    square.paste(
        picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0),
        ((side - size[0]) // 2, (side - size[1]) // 2),
    )
    return square


def catalogued_tiles(connection: Connection, image_ids: Iterable[int], read: Read) -> dict[int, Tile]:
    """Tiles of catalogued images, without rank. Each file is read once; one that cannot be read has a tile too.

    An image whose DICOM header says that text is burned into its pixels is not shown: the text may name a patient.
    """
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        found: list[Any] = cursor.execute(query("image_tiles"), {"image_ids": list(set(image_ids))}).fetchall()
    tiles = {}
    for image in found:
        if image.burned_in:
            tiles[image.image_id] = Tile(None, image.label, missing="text burned in")
            continue
        try:
            pixels = None if image.path is None else shrunk(read(image.path, image.frame))
        except MedcbirError:
            pixels = None
        tiles[image.image_id] = Tile(pixels, image.label)
    return tiles


def rows_of_run(
    connection: Connection, run: Run, query_ids: Iterable[int], n: int, read: Read, title: str = ""
) -> list[Row]:
    """These queries of a run with their first `n` hits, in the order asked."""
    asked = list(query_ids)
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        found: list[Any] = cursor.execute(
            query("report_hits"), {"run_id": run.run_id, "query_ids": asked, "n": n}
        ).fetchall()
    hits: dict[int, list[Neighbour]] = {query_id: [] for query_id in asked}
    for hit in found:
        hits[hit.query_id].append(Neighbour(hit.image_id, hit.rank, hit.similarity, hit.relevant))
    tiles = catalogued_tiles(connection, {*asked, *(hit.image_id for hit in found)}, read)
    return [Row(tiles[query_id], captioned(neighbours, tiles), title) for query_id, neighbours in hits.items()]


def captioned(neighbours: Iterable[Neighbour], tiles: dict[int, Tile]) -> tuple[Tile, ...]:
    """Each neighbour's tile with its rank, similarity and relevance."""
    return tuple(
        Tile(tile.pixels, tile.label, each.rank, each.similarity, each.relevant, tile.missing)
        for each in neighbours
        for tile in (tiles[each.image_id],)
    )
