"""The map holds every point, within a page's size; an independent reading of its packing gives the points back."""

import base64
import zlib

import numpy as np

from medcbir.report.map_figure import GRID_BITS, Group, on_grid, pack, point_map

MOST = 5_000_000  # bytes


def unpacked(data: str, sizes: list[int]) -> list[list[tuple[int, int]]]:
    """Cells of each group, decoded number by number."""
    planes = zlib.decompress(base64.b64decode(data))
    count, at, found = sum(sizes), 0, []
    for size in sizes:
        code, cells = 0, []
        for place in range(at, at + size):
            code += sum(planes[plane * count + place] << 8 * plane for plane in range(3))
            x, y = (sum((code >> 2 * bit + axis & 1) << bit for bit in range(GRID_BITS)) for axis in (0, 1))
            cells.append((x, y))
        found.append(cells)
        at += size
    return found


def test_what_is_packed_is_every_point_of_its_group() -> None:
    rng = np.random.default_rng(0)
    sizes = [1, 300, 2, 97]
    cells = on_grid(rng.normal(size=(sum(sizes), 2)).astype(np.float32))
    cells[:2] = [[0, 0], [2**GRID_BITS - 1, 2**GRID_BITS - 1]]
    ends = np.cumsum(sizes)
    expected = [sorted(map(tuple, part.tolist())) for part in np.split(cells, ends[:-1])]
    assert [sorted(part) for part in unpacked(pack(cells, sizes), sizes)] == expected


def test_both_axes_have_one_scale_and_fill_the_grid() -> None:
    cells = on_grid(np.array([[-10, 0], [30, 5], [10, 10]], np.float32)).astype(int)
    assert cells[:, 0].tolist() == [0, 2**GRID_BITS - 1, 1024]
    assert abs(np.ptp(cells[:, 1]) - 2**GRID_BITS / 4) <= 1
    assert on_grid(np.ones((3, 2), np.float32)).tolist() == [[1024, 1024]] * 3


def test_a_map_of_1_6_million_points_of_185_classes_stays_small() -> None:
    rng = np.random.default_rng(0)
    sizes = np.diff(np.linspace(0, 1_600_000**0.25, 186) ** 4).round().astype(int).tolist()
    groups = [
        Group(("CT", "MR", "US", "XR")[n % 4], f"r{n % 12}", f"f{n}", "pathology", "d", s) for n, s in enumerate(sizes)
    ]
    parts = []
    for size in sizes:
        centres = rng.normal(scale=30, size=(1 + size // 3000, 2))
        parts.append(centres[rng.integers(0, len(centres), size)] + rng.normal(scale=4, size=(size, 2)))
    drawn = point_map(groups, np.concatenate(parts).astype(np.float32), "encoder")
    assert drawn.images == sum(sizes) > 1_590_000
    assert len(drawn.data) + sum(len(panel.picture) for panel in drawn.panels) < MOST
    assert [panel.title for panel in drawn.panels] == ["Modality", "Region", "Finding, CT only"]
