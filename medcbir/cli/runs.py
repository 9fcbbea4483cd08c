"""medcbir runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database

if TYPE_CHECKING:
    from medcbir.api import Database


@click.group(name="runs")
def group() -> None:
    """Retrieval runs for other programs."""


@group.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@database
def export(db: "Database", run: str, file: Path) -> None:
    """Write the hits of RUN to FILE, in the format that its suffix says.

    .parquet has a row per hit: query_id, query_uri, rank, image_id, hit_uri, distance, relevant. .csv is the published
    knn.csv: uris in columns query, 1, 2, ... .trec is a TREC run, with the relevance of its hits beside it as .qrels.
    """
    for written in db.export_run(run, file):
        click.echo(f"written: {written}")
