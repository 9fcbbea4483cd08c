"""medcbir demo."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database

if TYPE_CHECKING:
    from medcbir.api import Database


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-report"),
    show_default=True,
    metavar="DIR",
    help="Folder for the report.",
)
@database
def demo(db: "Database", out: Path) -> None:
    """Run the whole chain on real images that come with the installed packages, and write a report.

    Needs `pip install "medcbir[demo]"`. Catalogues, encodes, retrieves with and without the query's own patient,
    evaluates, and writes report.html and grid.png. It shows that the chain works; it says nothing about diagnostic
    quality: there are too few images, and the encoder was trained on photographs.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_rows
    from medcbir.demo import run_demo

    with progress() as shown:
        done = run_demo(db, out, shown)
    click.echo(
        f"catalogue: {done.ingested.added} images added, {done.ingested.updated} updated, {done.ingested.unchanged} "
        f"unchanged, {done.ingested.rejected} rejected (see the report); {done.encoded.encoded} encoded"
    )
    click.echo("among them slices of the MNI152 template: an average brain of 152 adults, not a patient")
    rows = [
        (one.n, one.average, one.definition, one.value, other.value)
        for one, other in zip(done.metrics, done.same_patient_metrics, strict=True)
    ]
    title = f"P@N of {done.excluded.queries} queries among {done.excluded.index} images by {done.excluded.encoder}"
    render_rows(title, ["n", "average", "definition", "same patient excluded", "included"], rows, "table")
    click.echo("so few images show that the chain works, not how well it would serve a diagnosis")
    click.echo(f"report: {done.report}\npicture: {done.grid}")
