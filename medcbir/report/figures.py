"""Drawings by matplotlib as inline SVG, in the page's own colours: light, dark and printed alike.

Text stays text, nothing is dated, and the same numbers give the same bytes. Where matplotlib is missing there is no
drawing: `MISSING` says what to install, and tables have the numbers.
"""

import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from medcbir.report.sections import Figure
from medcbir.report.tables import Measure, number

MISSING = 'Figures are left out: they need matplotlib (pip install "medcbir[bench]").'

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_INK = {"#000001": "text", "#000002": "quiet", "#000003": "line", "#000004": "ground"}
_TEXT, _QUIET, _LINE, _GROUND = _INK
SERIES = 12
"""Colours of the palette, `--series-1` and so on in templates/style.css."""
_MARKERS = "osD^vPX<>phd"
_WIDTH = 7.6  # inches


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def _series(place: int) -> str:
    return f"#0000{0xA0 + place % SERIES:02x}"


@contextmanager
def _axes(height: float, x: str, y: str) -> Any:
    """Axes with titles, in our style."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    style: Any = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "medcbir",
        "font.size": 8.5,
        "text.color": _TEXT,
        "axes.labelcolor": _QUIET,
        "axes.edgecolor": _QUIET,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _LINE,
        "grid.linewidth": 0.6,
        "xtick.color": _QUIET,
        "ytick.color": _QUIET,
        "axes.linewidth": 0.7,
    }
    with rc_context(style):
        canvas = Canvas(figsize=(_WIDTH, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        yield axes


def _svg(axes: Any, name_of_figure: str, alt: str) -> str:
    """The drawing as an element without style attributes, which the page's policy forbids."""
    content = io.BytesIO()
    axes.figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    ET.register_namespace("", _SVG)
    root = ET.fromstring(content.getvalue())  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
        for part in filter(None, (parent.attrib.pop("style", "").split(";"))):
            name, _, value = part.strip().partition(":")
            if name in ("font", "font-size"):
                size = next((each for each in value.split() if each.endswith("px")), value.strip())
                parent.set("font-size", size)
            elif name and not name.startswith("font"):
                parent.set(name.strip(), _ink(value.strip()))
        for attribute in ("id", f"{{{_XLINK}}}href", "clip-path"):
            if attribute in parent.attrib:
                value = parent.attrib.pop(attribute)
                parent.set(attribute.partition("}")[2] or attribute, _own(value, name_of_figure))
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", alt)
    root.set("class", "drawing")
    return ET.tostring(root, encoding="unicode")


def _own(reference: str, figure: str) -> str:
    """An id, or a reference to one, that no other figure of the page has."""
    before, sign, name = reference.rpartition("#")
    return f"{before}{sign}{figure}-{name}"


def _legend(axes: Any) -> None:
    """Above the axes, where it covers nothing."""
    axes.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, labelcolor=_TEXT)


def _plain(ticks: Any) -> None:
    """Numbers as they are, not as powers of ten."""
    ticks.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ticks.set_minor_formatter(lambda *_: "")


def _ink(value: str) -> str:
    if value in _INK:
        return f"var(--{_INK[value]})"
    if value.startswith("#0000a") and len(value) == 7:
        return f"var(--series-{int(value[-1], 16) + 1})"
    return value


def forest(rows: Sequence[tuple[str, Any]], measured: str) -> Figure | None:
    """Each encoder's number with its interval and the published value."""
    drawn = [(name, cell) for name, cell in rows if isinstance(cell, Measure) and cell.value is not None]
    if not available() or not drawn:
        return None
    with _axes(0.7 + 0.3 * len(drawn), measured, "") as axes:
        for place, (_, cell) in enumerate(reversed(drawn)):
            if cell.ci_low is not None:
                axes.plot([cell.ci_low, cell.ci_high], [place, place], color=_series(0), linewidth=2, zorder=2)
            axes.plot([cell.value], [place], "o", color=_series(0), markersize=6, zorder=3)
            if cell.published is not None:
                axes.plot([cell.published], [place], "D", color=_TEXT, markerfacecolor="none", markersize=6, zorder=4)
        axes.set_yticks(range(len(drawn)), [name for name, _ in reversed(drawn)], color=_TEXT)
        axes.set_ylim(-0.6, len(drawn) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        alt = f"{measured} of " + ", ".join(f"{name} {number(cell.value, 3)}" for name, cell in drawn)
        published = any(cell.published is not None for _, cell in drawn)
        caption = f"{measured}: dot and line, ours with its 95 % interval" + (
            "; open diamond, the published value." if published else "."
        )
        return Figure("retrieval", caption, alt, _svg(axes, "retrieval", alt))


@dataclass(frozen=True, slots=True)
class ClassPoint:
    """A class in figure 3 A."""

    label: str
    kind: str
    index_images: int
    precision: float


def size_and_precision(points: Sequence[ClassPoint], encoder: str, n: int) -> Figure | None:
    """Figure 3 A: P@N of each class against its index images, pathology and anatomy apart."""
    if not available() or not points:
        return None
    with _axes(3.6, "index images of the class (log scale)", f"P@{n} of the class") as axes:
        for kind, marker, place in (("pathology", "^", 1), ("anatomy", "o", 2)):
            some = [each for each in points if each.kind == kind and each.index_images]
            if some:
                axes.scatter(
                    [each.index_images for each in some],
                    [each.precision for each in some],
                    s=26,
                    marker=marker,
                    facecolor=_series(place),
                    edgecolor=_GROUND,
                    linewidth=0.4,
                    label=f"{kind} ({len(some)} classes)",
                )
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set_ylim(-0.03, 1.03)
        _legend(axes)
        alt = f"P@{n} of {len(points)} classes by {encoder}, against the number of their index images"
        return Figure("classes", f"P@{n} of each class by {encoder} (figure 3 A).", alt, _svg(axes, "classes", alt))


@dataclass(frozen=True, slots=True)
class LinePoint:
    """P@N for so many images of each class in the index, and the ends of its band, if there is one."""

    images: int
    precision: float
    low: float | None
    high: float | None


def index_size(lines: Sequence[tuple[str, Sequence[LinePoint]]], n: int) -> Figure | None:
    """Figure 3 B: P@N against index images per class, a line for each encoder by its name."""
    if not available() or not lines:
        return None
    with _axes(3.6, "index images per class (log scale)", f"P@{n}") as axes:
        for place, (name, points) in enumerate(lines):
            sizes = [each.images for each in points]
            axes.plot(
                sizes,
                [each.precision for each in points],
                marker=_MARKERS[place % len(_MARKERS)],
                markersize=4.5,
                linewidth=1.4,
                label=name,
                color=_series(place),
            )
            banded = [(each.images, each.low, each.high) for each in points if each.low is not None]
            if banded:
                axes.fill_between(*zip(*banded, strict=True), color=_series(place), alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        ticks = sorted({each.images for _, points in lines for each in points})
        axes.set_xticks(ticks, [f"{each:,.0f}" for each in ticks])
        axes.minorticks_off()
        _legend(axes)
        alt = f"P@{n} against index images per class: " + ", ".join(
            f"{name} from {points[0].precision:.3f} to {points[-1].precision:.3f}" for name, points in lines
        )
        caption = f"P@{n} against the number of index images per class; bands, one std. dev. over draws (figure 3 B)."
        return Figure("index_size", caption, alt, _svg(axes, "index_size", alt))


def imbalance(images: Sequence[int]) -> Figure | None:
    """Figure 4: images of each class, the largest first."""
    if not available() or not images:
        return None
    with _axes(2.6, "classes, the largest first", "images (log scale)") as axes:
        axes.bar(range(1, len(images) + 1), images, width=0.85, color=_series(0), linewidth=0)
        axes.set_yscale("log")
        _plain(axes.yaxis)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="x", visible=False)
        axes.set_xlim(0.3, len(images) + 0.7)
        alt = f"{len(images)} classes, of {max(images):,} images down to {min(images):,}"
        return Figure("imbalance", f"Class imbalance: {alt} (figure 4).", alt, _svg(axes, "imbalance", alt))


def pareto(points: Sequence[tuple[str, float, float, float | None]], measured: str) -> Figure | None:
    """Quality against speed, memory as the size of the disc: (name, images per second, quality, MiB)."""
    if not available() or not points:
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    with _axes(3.4, "images encoded per second (log scale)", measured) as axes:
        most = max((each[3] or 0.0 for each in points), default=0.0) or 1.0
        for place, (name, speed, quality, memory) in enumerate(points):
            size = 40.0 if memory is None else 30 + 270 * memory / most
            axes.scatter([speed], [quality], s=size, color=_series(place), alpha=0.75, linewidth=0)
            axes.annotate(
                name,
                (speed, quality),
                xytext=(0, 5 + (size**0.5) / 2),
                textcoords="offset points",
                ha="center",
                color=_TEXT,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(0.15, 0.25)
        alt = f"{measured} against speed: " + ", ".join(
            f"{name} {quality:.3f} at {speed:,.1f} images/s" for name, speed, quality, _ in points
        )
        caption = (
            f"{measured} against the speed of encoding; the area of a disc is peak memory. Up and right is better."
        )
        return Figure("pareto", caption, alt, _svg(axes, "pareto", alt))
