"""medcbir index."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database


@click.group(name="index")
def group() -> None:
    """An approximate index (HNSW) per encoder, for SQL function approximate_top_n; no exact answer ever uses it."""


@group.command()
@encoder
@click.option("--m", type=int, default=16, show_default=True, help="Links of each vector.")
@click.option("--ef-construction", type=int, default=64, show_default=True, help="Candidates looked at per vector.")
@database
def build(db: "Database", encoder: str, m: int, ef_construction: int) -> None:
    """Build the index over the vectors that there are; later ones are added to it as they come."""
    seconds = db.build_index(encoder, m=m, ef_construction=ef_construction)
    click.echo(f"indexed {encoder} in {seconds:.1f} s; `medcbir index recall` tells what it misses")


@group.command()
@encoder
@database
def drop(db: "Database", encoder: str) -> None:
    """Remove the index."""
    db.drop_index(encoder)
    click.echo(f"removed the index of {encoder}")


@group.command()
@encoder
@click.option("-n", "n", type=int, default=10, show_default=True, help="Nearest images to be found.")
@click.option("--queries", type=int, default=100, show_default=True, help="Stored images to ask for, drawn at random.")
@click.option("--ef-search", type=int, default=100, show_default=True, help="Candidates that the index proposes.")
@output_format("text", "json")
@database
def recall(db: "Database", encoder: str, n: int, queries: int, ef_search: int, output: str) -> None:
    """Measure how much of the exact answer the index finds, and how long both take."""
    from medcbir.cli.render import render_json

    found = db.index_recall(encoder, n=n, queries=queries, ef_search=ef_search)
    if output == "json":
        render_json(asdict(found))
        return
    click.echo(
        f"recall at {found.n} of {found.encoder} with ef_search {found.ef_search}: {found.recall:.4f} over "
        f"{found.queries} queries (at least {found.least:.2f}); {1000 * found.seconds:.1f} ms per query, "
        f"exact {1000 * found.exact_seconds:.1f} ms"
    )
