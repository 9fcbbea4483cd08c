"""medcbir vectors."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medcbir.cli.main import REJECTED
from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database


@click.group(name="vectors")
def group() -> None:
    """Bring in vectors that were made elsewhere."""


@group.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--encoder", required=True, metavar="NAME", help="Name to store them under; a new one is added.")
@output_format("text", "json")
@database
def import_(db: "Database", file: Path, encoder: str, output: str) -> int:
    """Store the vectors of FILE, a .npz of arrays `uri` (text) and `vector` (n x dim).

    They are checked and normalised to unit length. Images must be in the catalogue (`medcbir ingest MANIFEST
    --metadata-only` needs no image files); uris that are not are told, and the exit code is then 3.
    """
    from medcbir.cli.render import render_json

    report = db.import_vectors(file, encoder=encoder)
    if output == "json":
        render_json(asdict(report))
    else:
        click.echo(
            f"encoder {report.encoder}: {report.added} vectors of {report.dim} dimensions added, "
            f"{report.unchanged} unchanged"
        )
    if report.unknown:
        click.echo(
            f"{report.unknown} uris are not in the catalogue, for instance {', '.join(report.unknown_uris)}", err=True
        )
        return REJECTED
    return 0
