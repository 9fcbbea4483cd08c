"""medcbir report."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database

if TYPE_CHECKING:
    from medcbir.api import Database


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder for the report; files of an earlier one are replaced.",
)
@database
def report(db: "Database", runs: tuple[str, ...], out: Path) -> None:
    """Write a report on runs, or on the newest of each encoder: the paper's tables and figures.

    DIR gets report.html (one file that loads nothing), report.md, and tables/ with every table as CSV, LaTeX and JSON.
    What else there is of the runs' encoders is part of it: runs with the same patient, classifications, ablation, map.
    """
    from medcbir.cli.progress import progress

    with progress() as shown:
        written = db.report(runs, out=out, progress=shown)
    for file in written[:2]:
        click.echo(f"report: {file}")
    click.echo(f"tables: {(len(written) - 2) // 3} in {out / 'tables'}")
