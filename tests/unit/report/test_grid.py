"""A grid says by frame and mark what a neighbour is, and shows pictures without distortion."""

import numpy as np
import pytest
from PIL import Image

import medcbir
from medcbir.errors import UnreadableImageError
from medcbir.report import Row, Tile, draw_grid
from medcbir.report.grid import FRAME, OTHER, PER_LINE, QUERY, RELEVANT, TILE, UNKNOWN
from medcbir.report.tiles import catalogued_tiles, letterbox
from medcbir.store.connection import open_database

_MARGIN, _ASIDE, _GAP = 36, 36, 16
_CELL = TILE + 2 * FRAME


def _neighbour(rank: int, relevant: bool | None) -> Tile:
    return Tile(np.full((40, 40), 200, np.uint8), "CT/head", rank, 0.5, relevant)


def _corner(column: int) -> tuple[int, int]:
    """A pixel within the frame of the query (column 0) or a neighbour (from 1) of an untitled first row."""
    left = _MARGIN if column == 0 else _MARGIN + _CELL + _ASIDE + (column - 1) * (_CELL + _GAP)
    return left + FRAME // 2, _MARGIN + FRAME // 2


def test_frames_are_orange_for_the_query_and_tell_matches_from_mismatches() -> None:
    query = Tile(np.zeros((40, 40), np.uint8), "CT/head")
    grid = draw_grid([Row(query, (_neighbour(1, True), _neighbour(2, False), _neighbour(3, None)))])
    assert [grid.getpixel(_corner(column)) for column in range(4)] == [QUERY, RELEVANT, OTHER, UNKNOWN]


def test_match_and_mismatch_differ_in_form_and_not_in_colour_alone() -> None:
    def mark(relevant: bool) -> np.ndarray:
        left, top = _corner(1)
        grid = draw_grid([Row(Tile(None), (_neighbour(1, relevant),))])
        box = (left - FRAME // 2, top + _CELL + 5, left + 20, top + _CELL + 30)
        pixels = np.asarray(grid.crop(box).convert("L"), dtype=int)
        return pixels > (pixels.max() + pixels.min()) // 2

    assert (mark(True) != mark(False)).sum() > 20


def test_further_neighbours_go_on_below_and_a_query_without_any_is_drawn() -> None:
    query = Tile(np.zeros((40, 40), np.uint8), "CT/head")
    one = draw_grid([Row(query, tuple(_neighbour(rank, True) for rank in range(1, PER_LINE + 1)))])
    two = draw_grid([Row(query, tuple(_neighbour(rank, True) for rank in range(1, PER_LINE + 2)))])
    assert two.width == one.width
    assert two.height > one.height
    assert draw_grid([Row(query, ())]).getpixel(_corner(0)) == QUERY


def test_a_title_is_drawn_once_for_rows_that_share_it() -> None:
    query = Tile(np.zeros((40, 40), np.uint8), "CT/head")
    untitled, same, changed = (
        draw_grid([Row(query, (), first), Row(query, (), second)]).height
        for first, second in (("", ""), ("one", "one"), ("one", "two"))
    )
    assert same - untitled == changed - same > 0


def test_letterbox_keeps_the_shape_and_pads_with_black() -> None:
    square = np.asarray(letterbox(np.full((50, 100), 255, np.uint8), 80))
    assert square.shape == (80, 80, 3)
    assert (square[20:60] == 255).all()
    assert not square[:20].any()
    assert not square[60:].any()


@pytest.fixture
def catalogued(db: medcbir.Database, tmp_path):
    """Four images: two CT/head, an MR/head, and one catalogued without its file; and the vectors of a toy encoder."""
    (tmp_path / "manifest.csv").write_text(
        "uri,dataset,modality,region\na.png,set,CT,head\nb.png,set,CT,head\nc.png,set,MR,head\n"
    )
    for name, value in (("a", 40), ("b", 80), ("c", 120)):
        Image.fromarray(np.full((32, 32), value, np.uint8)).save(tmp_path / f"{name}.png")
    db.ingest(tmp_path / "manifest.csv", encode=False)
    (tmp_path / "unseen.csv").write_text("uri,dataset,modality,region\nd.png,set,CT,head\n")
    db.ingest(tmp_path / "unseen.csv", metadata_only=True)
    vectors = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]], np.float32)
    np.savez(tmp_path / "vectors.npz", uri=np.array(["a.png", "b.png", "c.png", "d.png"]), vector=vectors)
    db.import_vectors(tmp_path / "vectors.npz", encoder="toy")
    ((query_id,),) = db.query("SELECT image_id FROM image WHERE uri = 'a.png'")
    return db, query_id


def test_save_grid_of_a_catalogued_query_knows_what_is_relevant(catalogued, tmp_path) -> None:
    db, query_id = catalogued
    hits = db.search(image_id=query_id, encoder="toy")
    db.save_grid(tmp_path / "grid.png", hits, image_id=query_id)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.format == "PNG"
        assert [grid.getpixel(_corner(column)) for column in range(4)] == [QUERY, RELEVANT, OTHER, RELEVANT]
        left, top = _corner(1)
        assert grid.getpixel((left + _CELL // 2, top + _CELL // 2)) == (80, 80, 80)
        left, top = _corner(3)
        assert grid.getpixel((left + 20, top + 20)) == (36, 39, 46), "an image without a file has a placeholder"


def test_save_grid_of_a_loose_image_leaves_relevance_open(catalogued, tmp_path) -> None:
    db, query_id = catalogued
    hits = db.search(image_id=query_id, encoder="toy")
    db.save_grid(tmp_path / "grid.png", hits, image=tmp_path / "c.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert [grid.getpixel(_corner(column)) for column in range(4)] == [QUERY, UNKNOWN, UNKNOWN, UNKNOWN]


def test_an_image_with_burned_in_text_is_not_shown(catalogued, tmp_path) -> None:
    db, _ = catalogued
    db.query("UPDATE image SET attributes = '{\"burned_in\": true}' WHERE uri = 'b.png' RETURNING image_id")

    def read(path, frame=0):
        if str(path).endswith("c.png"):
            raise UnreadableImageError("gone")
        return np.zeros((8, 8), np.uint8)

    ids = dict(db.query("SELECT uri, image_id FROM image"))
    with open_database(db.conninfo, install="never") as connection:
        tiles = catalogued_tiles(connection, ids.values(), read)
    assert tiles[ids["a.png"]].pixels is not None
    assert (tiles[ids["b.png"]].pixels, tiles[ids["b.png"]].missing) == (None, "text burned in")
    assert (tiles[ids["c.png"]].pixels, tiles[ids["c.png"]].missing) == (None, "no image file")
