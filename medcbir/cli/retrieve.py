"""medcbir retrieve."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, datasets, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database

_CHOICE = click.Choice(["train", "val", "test", "all"])


@click.command()
@encoder
@click.option("-n", "n", type=int, default=10, show_default=True, help="Hits to keep per query.")
@click.option("--queries", type=_CHOICE, default="test", show_default=True, help="Which images are the queries.")
@click.option("--index", type=_CHOICE, default="train", show_default=True, help="Which images are retrieved from.")
@datasets
@click.option(
    "--exclude-same-patient/--no-exclude-same-patient",
    default=True,
    show_default=True,
    help="Leave out other images of the query's patient.",
)
@click.option(
    "--exclude-duplicates/--no-exclude-duplicates",
    default=False,
    show_default=True,
    help="Leave out images whose decoded pixels equal the query's.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "pgvector", "blocked"]),
    default="auto",
    show_default=True,
    help="How to compute it; the answer is the same.",
)
@click.option("--name", metavar="RUN", help="Name of the run.  [default: encoder and number]")
@output_format("text", "json")
@database
def retrieve(
    db: "Database",
    encoder: str,
    n: int,
    queries: str,
    index: str,
    datasets: tuple[str, ...],
    exclude_same_patient: bool,
    exclude_duplicates: bool,
    engine: str,
    name: str | None,
    output: str,
) -> None:
    """Retrieve the nearest images of every query, and keep them as a run to evaluate.

    Images with several labels take no part, as in the paper. Hits are in view medcbir.hit.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json
    from medcbir.types import Filter

    among = list(datasets) or None
    with progress() as shown:
        run = db.retrieve(
            encoder=encoder,
            n=n,
            queries=Filter(datasets=among, split=None if queries == "all" else queries),  # type: ignore[arg-type]
            index=Filter(datasets=among, split=None if index == "all" else index),  # type: ignore[arg-type]
            exclude_same_patient=exclude_same_patient,
            exclude_duplicates=exclude_duplicates,
            engine=engine,
            name=name,
            progress=shown,
        )
    if output == "json":
        render_json(asdict(run))
    else:
        click.echo(
            f"run {run.name}: top {run.n} of {run.queries} queries among {run.index} images by {run.encoder}, "
            f"same patient {'excluded' if run.exclude_same_patient else 'included'}, "
            f"duplicates {'excluded' if run.exclude_duplicates else 'included'}, {run.seconds:.1f} s"
        )
