"""medcbir encode."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

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
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    show_default="float32, or that of the encoder's name",
    help="Vectors in bfloat16 are stored as encoder NAME_bf16. auto goes on with the one that is there, or takes the "
    "faster.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    show_default="as the device's memory allows",
    help="Images that are given to the model at once.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Let torch compile the model first, which takes up to a minute and a compiler; see docs/encoders.md.",
)
@output_format("text", "json")
@database
def encode(
    db: "Database",
    encoder: str,
    dataset: str | None,
    device: "Device",
    precision: Any,
    batch_size: int | None,
    compiled: bool,
    output: str,
) -> int:
    """Give every catalogued image its vector.

    Only what is missing is done, so a stopped command goes on where it was, and any number of processes on any number
    of machines can share the work.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json

    with progress() as shown:
        report = db.encode(
            encoder,
            dataset=dataset,
            device=device,
            precision=precision,
            batch_size=batch_size,
            compiled=compiled,
            progress=shown,
        )
    if output == "json":
        render_json(asdict(report))
    else:
        speed = report.encoded / report.seconds
        done = (
            f"{report.encoded} images encoded ({speed:.1f} images/s), {report.failed} failed, {report.remaining} "
            f"remaining, {report.seconds:.1f} s: {report.starting:.0%} starting, {report.forward:.0%} in the model, "
            f"{report.waiting:.0%} waiting for input, {report.writing:.0%} for the database"
            if report.encoded or report.failed or report.remaining
            else "0 images encoded, 0 failed, 0 remaining: every image that has a file has its vector"
        )
        click.echo(f"encoder {report.encoder}: {done}")
        if report.version_of:
            click.echo(
                f"{report.version_of} still means the vectors of another recipe; once {report.encoder} is complete, "
                f"`medcbir encoders retire {report.version_of}` drops those and gives it the name"
            )
    if report.interrupted:
        click.echo("interrupted; run the same command again to go on", err=True)
        return INTERRUPTED
    return REJECTED if report.failed else 0
