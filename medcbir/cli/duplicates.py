"""medcbir duplicates."""

from dataclasses import asdict, fields
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database


@click.command()
@click.option("--run", metavar="RUN", help="Report near duplicates instead, among the hits of this run.")
@click.option(
    "--within",
    type=click.FloatRange(min=0, max=2),
    default=0.01,
    show_default=True,
    metavar="DISTANCE",
    help="With --run: the largest cosine distance of a near duplicate.",
)
@output_format("table", "json", "csv")
@database
def duplicates(db: "Database", run: str | None, within: float, output: str) -> None:
    """List images that occur twice, leaks between splits first.

    Without --run those with exactly the same decoded pixels, in whatever file format; the one kept is the first in the
    order test, val, train, then by image_id. Nothing is removed: SQL leaves them out by view medcbir.duplicate_image.
    """
    from medcbir.cli.render import render_json, render_rows
    from medcbir.types import Duplicate

    found = db.duplicates() if run is None else db.near_duplicates(run, within=within)
    if output == "json":
        render_json([asdict(each) for each in found])
        return
    columns = [field.name for field in fields(Duplicate)]
    leaks = sum(each.leaks for each in found)
    kind = "exact" if run is None else "near"
    render_rows(
        f"{len(found)} {kind} duplicates, {leaks} of them across splits",
        columns,
        [[getattr(each, name) for name in columns] for each in found],
        output,
    )
