"""medcbir vectors."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medcbir.cli.main import REJECTED
from medcbir.cli.options import SPLITS, database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database
    from medcbir.types import Split


@click.group(name="vectors")
def group() -> None:
    """Vectors in and out: those made elsewhere, and those made here for others."""


@group.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--encoder", required=True, metavar="NAME", help="Name to store them under; a new one is added.")
@output_format("text", "json")
@database
def import_(db: "Database", file: Path, encoder: str, output: str) -> int:
    """Store the vectors of FILE: .npz, Parquet or HDF5.

    A .npz has arrays `uri` (text) and `vector` (n x dim), Parquet columns of these names (`vector` a list of numbers),
    HDF5 a dataset per image under its uri, as published by Denner et al. 2024. The last two need medcbir[bench].
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


@group.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--encoder", required=True, metavar="NAME", help="Whose vectors.")
@click.option("--dataset", metavar="NAME", help="Only images of this dataset.")
@click.option("--split", type=SPLITS, help="Only images of this split.")
@database
def export(db: "Database", file: Path, encoder: str, dataset: str | None, split: "Split | None") -> None:
    """Write the vectors of an encoder to FILE, named .npz, .parquet, .h5 or .hdf5.

    The layouts are those that `medcbir vectors import` reads, which gives back every vector bit for bit. FILE appears
    when it is complete.
    """
    count = db.export_vectors(file, encoder=encoder, dataset=dataset, split=split)
    click.echo(f"{count} vectors of encoder {encoder} written to {file}")
