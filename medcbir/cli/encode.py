"""medcbir encode."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.main import INTERRUPTED, REJECTED
from medcbir.cli.options import database, device, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database, Device


@click.command()
@encoder
@click.option("--dataset", metavar="NAME", help="Only images of this dataset.")
@device
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    show_default="as the device's memory allows",
    help="Images that are given to the model at once.",
)
@output_format("text", "json")
@database
def encode(
    db: "Database", encoder: str, dataset: str | None, device: "Device", batch_size: int | None, output: str
) -> int:
    """Give every catalogued image its vector.

    Only what is missing is done, so a stopped command goes on where it was, and any number of processes on any number
    of machines can share the work.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json

    with progress() as shown:
        report = db.encode(encoder, dataset=dataset, device=device, batch_size=batch_size, progress=shown)
    if output == "json":
        render_json(asdict(report))
    else:
        speed = report.encoded / report.seconds
        click.echo(
            f"encoder {report.encoder}: {report.encoded} images encoded ({speed:.1f} images/s), "
            f"{report.failed} failed, {report.remaining} remaining, {report.seconds:.1f} s: "
            f"{report.forward:.0%} in the model, "
            f"{report.waiting:.0%} waiting for input, {report.writing:.0%} for the database"
        )
    if report.interrupted:
        click.echo("interrupted; run the same command again to go on", err=True)
        return INTERRUPTED
    return REJECTED if report.failed else 0
