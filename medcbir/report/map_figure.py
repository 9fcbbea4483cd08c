"""The map of images (figure 5 of Denner et al. 2024): every point in the page, and still pictures for paper.

Coordinates are rounded to a grid of 2,048 x 2,048. Within a group (images that share class and dataset) points are put
in Z-order, and what is kept of each is the step to the next, which is small: about a byte and a half after deflate. So
1.6 million points take some 3 MB of a page, none is left out, and templates/map.js draws them on a canvas.
"""

import base64
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from medcbir.report.material import Material
from medcbir.report.render import packaged
from medcbir.report.sections import Panel, PointMap, Section

GRID_BITS = 11
_GRID = 1 << GRID_BITS
_PANEL = 640  # pixels
_NAMED = 11  # categories with a colour of their own; the others share one, which is number 0

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Group:
    """Points that share all that a reader may tell apart; None where an image has no single label."""

    modality: str | None
    region: str | None
    finding: str | None
    kind: str | None
    dataset: str | None
    count: int


def image_map(material: Material) -> Section:
    """Figure 5: the best encoder's map, or that of the first which has one."""
    title = "Map of the images (Figure 5)"
    best = material.headline()
    having = [each for each in material.results if each.projection is not None]
    if not having:
        return Section("map", title, ("Left out: no map of an encoder's vectors is there.",))
    result = next((each for each in having if best is not None and each.encoder == best[0].encoder), having[0])
    rows = material.rows("report_map", projection_id=result.projection)
    if not rows:
        return Section("map", title, ("Left out: the map holds no image.",))
    groups = [Group(row.modality, row.region, row.finding, row.kind, row.dataset, len(row.x)) for row in rows]
    points = np.concatenate([np.stack([row.x, row.y], axis=1, dtype=np.float32) for row in rows])
    name = material.title_of(result.encoder)
    text = (
        f"The vectors of {name} in two dimensions. What lies close together looks alike to the encoder; distances "
        "across the map mean little.",
    )
    return Section("map", title, text, (point_map(groups, points, name),))


def point_map(groups: Sequence[Group], points: Floats, encoder: str) -> PointMap:
    """The map of points (p, 2), which stand in the order of `groups`."""
    sizes = [group.count for group in groups]
    cells = on_grid(points)
    caption = f"{len(points):,} images by {encoder}. Drag or arrow keys move, wheel or + and − zoom, 0 shows all."
    about = {"bits": GRID_BITS, "groups": [asdict(group) for group in groups]}
    modalities = Counter({group.modality: 0 for group in groups if group.modality})
    for group in groups:
        if group.modality:
            modalities[group.modality] += group.count
    panels = [
        _panel("Modality", groups, cells, lambda group: group.modality),
        _panel("Region", groups, cells, lambda group: group.region),
    ]
    if modalities:
        chosen = "CT" if "CT" in modalities else modalities.most_common(1)[0][0]
        panels.append(
            _panel(
                f"Finding, {chosen} only",
                groups,
                cells,
                lambda group: group.finding if group.modality == chosen else None,
            )
        )
    return PointMap(caption, len(points), about, pack(cells, sizes), tuple(each for each in panels if each.legend))


def on_grid(points: Floats) -> npt.NDArray[np.uint16]:
    """Columns and rows (p, 2) of the grid's cells, both axes to one scale."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    scaled = (points - middle) / extent + 0.5
    cells: npt.NDArray[np.uint16] = np.clip(np.rint(scaled * (_GRID - 1)), 0, _GRID - 1).astype(np.uint16)
    return cells


def pack(cells: npt.NDArray[np.uint16], sizes: Sequence[int]) -> str:
    """Cells (p, 2) of consecutive groups of `sizes` points as base64 of zlib of three planes of bytes, lowest first.

    Each number is the step along the Z-order from the point before it in its group, or from 0.
    """
    codes = _spread(cells[:, 0]) | _spread(cells[:, 1]) << np.uint32(1)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    codes = codes[np.lexsort((codes, groups))]
    steps = np.diff(codes, prepend=np.uint32(0))
    starts = np.cumsum([0, *sizes[:-1]])
    steps[starts] = codes[starts]
    planes = b"".join((steps >> np.uint32(8 * plane)).astype(np.uint8).tobytes() for plane in range(3))
    return base64.b64encode(zlib.compress(planes, 9)).decode("ascii")


def _spread(numbers: npt.NDArray[np.uint16]) -> Cells:
    """The bits of each number at even places."""
    spread = numbers.astype(np.uint32)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread = (spread | spread << np.uint32(shift)) & np.uint32(mask)
    return spread


def _panel(
    title: str, groups: Sequence[Group], cells: npt.NDArray[np.uint16], category: Callable[[Group], str | None]
) -> Panel:
    counts: Counter[str] = Counter()
    for group in groups:
        if (name := category(group)) is not None:
            counts[name] += group.count
    named = [name for name, _ in counts.most_common(_NAMED)]
    colours = _palette()
    shown = sum(counts.values())
    radius = next((each for each, least in enumerate((300_000, 30_000, 3_000)) if shown > least), 4)
    places = {name: number for number, name in enumerate(named, 1)}
    of_groups = [-1 if (name := category(group)) is None else places.get(name, 0) for group in groups]
    of_points = np.repeat(of_groups, [group.count for group in groups])
    sums = np.zeros((_PANEL * _PANEL, 3))
    density = np.zeros(_PANEL * _PANEL)
    for place in sorted({*of_groups} - {-1}):
        own = cells[of_points == place].astype(np.int64) * _PANEL // _GRID
        hits = _dots(own[:, 0], _PANEL - 1 - own[:, 1], radius)
        density += hits
        sums += hits[:, None] * colours[place]
    covered = np.maximum(density, 1)[:, None]
    opacity = np.where(density > 0, 0.45 + 0.55 * np.log1p(density) / np.log1p(max(density.max(), 1)), 0)
    pixels = np.concatenate([sums / covered, 255 * opacity[:, None]], axis=1).round().astype(np.uint8)
    content = io.BytesIO()
    picture = Image.fromarray(pixels.reshape(_PANEL, _PANEL, 4), "RGBA")
    picture.quantize(128, Image.Quantize.FASTOCTREE).save(content, format="PNG", optimize=True)
    legend = [(number, name) for number, name in enumerate(named, 1)]
    if len(counts) > len(named):
        legend.append((0, f"{len(counts) - len(named)} others"))
    alt = f"{title}: {', '.join(name for _, name in legend)}"
    data = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
    return Panel(title, alt, data, tuple(legend))


def _dots(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], radius: int) -> npt.NDArray[np.int64]:
    """How many discs cover each pixel of a panel (pixels,)."""
    reach = np.arange(-radius, radius + 1)
    hits = np.zeros(_PANEL * _PANEL, np.int64)
    for dx, dy in ((dx, dy) for dx in reach for dy in reach if dx * dx + dy * dy <= radius * radius + 0.8 * radius):
        inside = (x + dx >= 0) & (x + dx < _PANEL) & (y + dy >= 0) & (y + dy < _PANEL)
        hits += np.bincount(((y + dy) * _PANEL + x + dx)[inside], minlength=_PANEL * _PANEL)
    return hits


@cache
def _palette() -> npt.NDArray[np.float64]:
    """The stylesheet's colours on light ground (1 + series, 3); the first is of what has none of its own."""
    light = packaged("style.css").partition("@media")[0]
    found = dict(re.findall(r"--(series-\d+|unknown): #([0-9a-f]{6})", light))
    names = ["unknown", *(f"series-{number}" for number in range(1, _NAMED + 1))]
    return np.array([list(bytes.fromhex(found[name])) for name in names], dtype=np.float64)
