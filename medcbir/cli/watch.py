"""medcbir watch, and what it shares with `medcbir receive`: commands that go on until they are told to stop."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.ingest import summary
from medcbir.cli.options import SPLITS, database, device, encoders, output_format, wanted_of_a_pacs
from medcbir.errors import MedcbirError

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import date

    from medcbir.api import Database, Device
    from medcbir.types import IngestReport, Split


@click.command()
@click.argument("path", metavar="URL_OR_PATH")
@click.option("--every", type=click.FloatRange(min=1), default=60.0, show_default=True, metavar="SECONDS")
@click.option("--dataset", default="auto", show_default=True, metavar="KIND", help="As for `medcbir ingest`.")
@click.option("--name", metavar="NAME", help="Name of the dataset to store; by default the server's or folder's.")
@click.option("--split", type=SPLITS, help="Split of these images.")
@wanted_of_a_pacs
@encoders
@device
@output_format("text", "json")
@database
def watch(
    db: "Database",
    path: str,
    every: float,
    dataset: str,
    name: str | None,
    split: "Split | None",
    modality: str | None,
    since: "date | None",
    encoder: tuple[str, ...],
    no_encode: bool,
    device: "Device",
    output: str,
) -> None:
    """Ingest what is new at a PACS or in a folder, again and again.

    Prints a line (with --format json an object) whenever something has come, and when the PACS goes away, which it
    waits for; names of files are in neither. Of studies that have as many instances as at the look before, none is
    asked for. Ctrl-C or SIGTERM ends it, with exit code 0.
    """
    with until_stopped():
        looks = db.watch(
            path,
            every=every,
            dataset=dataset,
            name=name,
            split=split,
            modality=modality,
            since=since,
            encoder=encoder,
            encode=not no_encode,
            device=device,
        )
        tell(looks, output)


class until_stopped:  # noqa: N801, it reads as the statement that it is
    """A block that Ctrl-C and SIGTERM end without an error."""

    def __enter__(self) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, kind: object, *_: object) -> bool:
        return kind is KeyboardInterrupt


def tell(events: "Generator[IngestReport | MedcbirError, None, None]", output: str) -> None:
    """Print reports as they come, on standard error why nothing comes; what is as before is not repeated."""
    trouble = ""
    with closing(events):
        for event in events:
            if isinstance(event, MedcbirError):
                if str(event) != trouble:
                    trouble = str(event)
                    click.echo(f"{_now()} waiting: {trouble}", err=True)
                continue
            if trouble:
                trouble = ""
                click.echo(f"{_now()} going on", err=True)
            for line in _lines(event, output):
                click.echo(line)
            sys.stdout.flush()


def _lines(report: "IngestReport", output: str) -> Iterator[str]:
    if not (report.added or report.updated or report.rejected or any(each.encoded for each in report.encoded)):
        return
    if output == "json":  # without the names of rejected files: this goes to logs, and they may be a patient's
        yield json.dumps({name: value for name, value in asdict(report).items() if name != "first_rejected"})
    else:
        yield from (f"{_now()} {line}" for line in summary(report))


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
