"""medcbir retrieve."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, datasets, encoder, output_format
from medcbir.cli.runs import certificate

if TYPE_CHECKING:
    from medcbir.api import Database

_CHOICE = click.Choice(["train", "val", "test", "all"])


@click.command()
@encoder
@click.option("-n", "n", type=int, default=10, show_default=True, help="Hits to keep per query.")
@click.option("--queries", type=_CHOICE, default="test", show_default=True, help="Which images are the queries.")
@click.option("--index", type=_CHOICE, default="train", show_default=True, help="Which images are retrieved from.")
@datasets
@click.option("--modality", metavar="NAME", help="Only those of this modality, e.g. CT.")
@click.option("--region", metavar="NAME", help="Only those of this anatomical region.")
@click.option("--finding", metavar="NAME", help="Only those with this finding.")
@click.option("--filter", "named", metavar="NAME", help="Only those that pass this filter (`medcbir filters list`).")
@click.option("--query-filter", metavar="NAME", help="The same for the queries alone, in place of --filter.")
@click.option("--index-filter", metavar="NAME", help="The same for the index alone, in place of --filter.")
@click.option(
    "--exclude-same-patient/--no-exclude-same-patient",
    default=True,
    show_default=True,
    help="Leave out other images of the query's patient.",
)
@click.option(
    "--exclude-same-study/--no-exclude-same-study",
    default=False,
    show_default=True,
    help="Leave out other images of the query's study, which matters where patients are not known.",
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
    modality: str | None,
    region: str | None,
    finding: str | None,
    named: str | None,
    query_filter: str | None,
    index_filter: str | None,
    exclude_same_patient: bool,
    exclude_same_study: bool,
    exclude_duplicates: bool,
    engine: str,
    name: str | None,
    output: str,
) -> None:
    """Retrieve the nearest images of every query, and keep them as a run to evaluate.

    Images with several labels take no part, as in the paper. Hits are in views medcbir.hit and medcbir.neighbour, once
    all queries are answered. Start the same command with one --name several times, on any machines, to share the
    work; after an interruption the same command goes on. The certificate says how the hits were found and checked.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json
    from medcbir.types import Filter

    def chosen(split: str, own_filter: str | None) -> Filter:
        return Filter(
            datasets=list(datasets) or None,
            modality=modality,
            region=region,
            split=None if split == "all" else split,  # type: ignore[arg-type]
            finding=finding,
            named=own_filter or named,
        )

    with progress() as shown:
        run = db.retrieve(
            encoder=encoder,
            n=n,
            queries=chosen(queries, query_filter),
            index=chosen(index, index_filter),
            exclude_same_patient=exclude_same_patient,
            exclude_same_study=exclude_same_study,
            exclude_duplicates=exclude_duplicates,
            engine=engine,
            name=name,
            progress=shown,
        )
    for role, missing in run.certificate["without_vector"].items():
        if missing:
            click.echo(
                f"{missing} images of the {role} have no vector of {run.encoder} and take no part: "
                f"`medcbir encode --encoder {run.encoder}`, then retrieve again",
                err=True,
            )
    if output == "json":
        render_json(asdict(run))
        return
    excluded = {
        "same patient": run.exclude_same_patient,
        "same study": run.exclude_same_study,
        "duplicates": run.exclude_duplicates,
    }
    click.echo(
        f"run {run.name}: top {run.n} of {run.queries} queries among {run.index} images by {run.encoder}, "
        + "".join(f"{what} {'excluded' if yes else 'included'}, " for what, yes in excluded.items())
        + f"{run.seconds:.1f} s"
    )
    click.echo(f"certificate: {certificate(run)}")
