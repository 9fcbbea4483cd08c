"""A run as one HTML file that loads nothing: data, encoder, precision, classes, neighbours, and how to repeat it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.rows import namedtuple_row

from medcbir.evaluation.metrics import DEFAULT_N
from medcbir.report.registry import spec_of
from medcbir.report.render import render
from medcbir.report.tiles import Read, Row, rows_of_run
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Run

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
    text = render(
        "report.html",
        story=story,
        run=run,
        other=same_patient,
        sizes=sizes,
        images=rows("report_images"),
        encoder=encoder,
        spec=spec_of(encoder.name),
        precision=rows("report_precision"),
        classes=rows("report_class"),
        rejected=rows("report_rejected"),
        pictures=list(zip(shown, beside, strict=True)) if beside else [(row,) for row in shown],
        versions=dict(versions or {})
        | {"PostgreSQL": encoder.postgresql, "pgvector": encoder.pgvector, **encoder.versions},
        seed=seed,
    )
    file.write_text(text, encoding="utf-8")
    return shown
