"""A run as one HTML file that loads nothing: data, encoder, precision, classes, neighbours, and how to repeat it."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from psycopg.rows import namedtuple_row

from medcbir.encoders import SPECS, EncoderSpec
from medcbir.evaluation.metrics import DEFAULT_N
from medcbir.report.tiles import Read, Row, Tile, letterbox, rows_of_run
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Run, UInt8Image

_SIDE = 200  # of an embedded picture, pixels
_NEIGHBOURS = 6  # as in Figure 2 of the paper
_SHOWN_CLASSES = 6


@dataclass(frozen=True, slots=True)
class Story:
    """The words around a report's numbers: what was done, what it shows, what it does not, and the commands."""

    title: str
    lead: str
    about_data: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    does_not_show: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def write_report(
    connection: Connection,
    file: Path,
    run: Run,
    story: Story,
    *,
    read: Read,
    same_patient: Run | None = None,
    versions: dict[str, str] | None = None,
    seed: int = 42,
) -> list[Row]:
    """Write the report on `run`; return the rows of pictures in it that are of `run`.

    `same_patient` is a run of the same queries and index that may retrieve the query's own patient: every value then
    stands beside its own, with the difference. `seed` draws the queries that are shown; `versions` are further ones to
    name. Raises `OSError` where `file` cannot be written.
    """
    sizes = [n for n in DEFAULT_N if n <= run.n] or [run.n]
    values: dict[str, Any] = {
        "run_id": run.run_id,
        "other_id": same_patient.run_id if same_patient else None,
        "n": sizes,
        "first": sizes[0],
        "last": sizes[-1],
        "seed": seed,
        "classes": _SHOWN_CLASSES,
    }

    def rows(name: str) -> list[Any]:
        with connection.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(query(name), values).fetchall()

    chosen = [row.query_id for row in rows("report_queries")]
    shown = rows_of_run(connection, run, chosen, _NEIGHBOURS, read, "Same patient excluded" if same_patient else "")
    beside = (
        rows_of_run(connection, same_patient, chosen, _NEIGHBOURS, read, "Same patient included")
        if same_patient
        else []
    )
    (encoder,) = rows("report_encoder")
    text = (
        _environment()
        .get_template("report.html")
        .render(
            story=story,
            run=run,
            other=same_patient,
            sizes=sizes,
            images=rows("report_images"),
            encoder=encoder,
            spec=_spec(encoder.name),
            precision=rows("report_precision"),
            classes=rows("report_class"),
            rejected=rows("report_rejected"),
            pictures=list(zip(shown, beside, strict=True)) if beside else [(row,) for row in shown],
            versions={"PostgreSQL": encoder.postgresql, "pgvector": encoder.pgvector, **encoder.versions}
            | (versions or {}),
            seed=seed,
        )
    )
    file.write_text(text, encoding="utf-8")
    return shown


def _spec(stored_name: str) -> EncoderSpec | None:
    """The registry's entry of a stored encoder, whose name may carry its recipe's digest; None if imported."""
    return next((spec for name, spec in SPECS.items() if stored_name in (name, f"{name}_{stored_name[-8:]}")), None)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medcbir.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"value": _value, "gap": _gap, "data_uri": _data_uri, "alt": _alt}
    return environment


def _value(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _gap(number: float | None) -> str:
    return "–" if number is None else f"{number:+.3f}".replace("-", "\N{MINUS SIGN}")


def _data_uri(pixels: UInt8Image) -> str:
    content = io.BytesIO()
    letterbox(pixels, _SIDE).save(content, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _alt(tile: Tile) -> str:
    """The tile in words, for those who do not see it."""
    label = tile.label or "no single label"
    if tile.rank is None:
        return f"Query image: {label}"
    relation = {True: "same class as the query", False: "another class", None: "class not known"}[tile.relevant]
    return f"Neighbour {tile.rank}: {label}, {relation}"
