"""HTML pages from templates/: one stylesheet and one base for all, and a policy by which a page loads nothing."""

import base64
import hashlib
import io
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from medcbir.report import tables
from medcbir.report.tiles import Tile, letterbox
from medcbir.types import UInt8Image

_NBSP = "\N{NO-BREAK SPACE}"
_SIDE = 200  # of an embedded picture, pixels


def render(template: str, script: str = "", **content: Any) -> str:
    """The page of this template. Its only style and `script` are inline and named in its policy by their digests."""
    style = packaged("style.css")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=Markup(policy),  # noqa: S704
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            **content,
        )
    )


def packaged(name: str) -> str:
    """Text of a file of templates/."""
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" if text else "'none'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medcbir.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "value": lambda number: tables.number(number, 3),
        "gap": lambda number: tables.number(number, 3, signed=True),
        "data_uri": _data_uri,
        "alt": _alt,
        "shown": tables.shown,
        "interval": tables.interval,
        "beside": tables.beside,
        "tidy": _tidy,
        "breakable": _breakable,
        "block": lambda block: type(block).__name__,
    }
    return environment


def _data_uri(pixels: UInt8Image) -> str:
    content = io.BytesIO()
    letterbox(pixels, _SIDE).save(content, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _tidy(text: str) -> str:
    """Numbers that stay on one line with what they count."""
    return re.sub(r"(?i)\b((?:tables?|figures?)) (\d)(?: ([AB])\b)?", _joined, text).replace(" %", f"{_NBSP}%")


def _joined(found: re.Match[str]) -> str:
    return _NBSP.join(part for part in found.groups() if part)


def _breakable(text: str) -> Markup:
    """A label that may be broken after a slash or an underscore."""
    return Markup(re.sub(r"([/_])", r"\1<wbr>", str(escape(text))))  # noqa: S704


def _alt(tile: Tile) -> str:
    """The tile in words, for those who do not see it."""
    label = tile.label or "no single label"
    if tile.rank is None:
        return f"Query image: {label}"
    relation = {True: "same class as the query", False: "another class", None: "class not known"}[tile.relevant]
    return f"Neighbour {tile.rank}: {label}, {relation}"
