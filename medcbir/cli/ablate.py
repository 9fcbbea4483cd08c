"""medcbir ablate."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, encoder, numbers, output_format

if TYPE_CHECKING:
    from medcbir.api import Database

_CHOICE = click.Choice(["train", "val", "test", "all"])


@click.group(name="ablate")
def group() -> None:
    """Measure what a choice does to retrieval."""


@group.command(name="index-size")
@encoder
@click.option(
    "--sizes",
    callback=numbers,
    default="5,10,25,50,100,250,500,1000,2000,3000",
    show_default=True,
    metavar="5,10,...",
    help="Index images per class.",
)
@click.option(
    "--larger-than",
    type=click.IntRange(min=0),
    metavar="IMAGES",
    help="Use classes with more index images than this.  [default: the largest of --sizes]",
)
@click.option(
    "--queries-per-class",
    type=click.IntRange(min=1),
    metavar="QUERIES",
    help="Of classes with at least so many.  [default: those of the class with fewest]",
)
@click.option("--n", "n", callback=numbers, default="1", show_default=True, metavar="1,3,...", help="Which N of P@N.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Draws of the index.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the first draw.")
@click.option("--queries", type=_CHOICE, default="test", show_default=True, help="Which images are the queries.")
@click.option("--index", type=_CHOICE, default="train", show_default=True, help="Which images are retrieved from.")
@click.option(
    "--exclude-same-patient/--no-exclude-same-patient",
    default=True,
    show_default=True,
    help="Leave out other images of the query's patient.",
)
@output_format("table", "json", "csv", "latex", "markdown")
@database
def index_size(
    db: "Database",
    encoder: str,
    sizes: list[int],
    larger_than: int | None,
    queries_per_class: int | None,
    n: list[int],
    seeds: int,
    seed: int,
    queries: str,
    index: str,
    exclude_same_patient: bool,
    output: str,
) -> None:
    """Print P@N against the number of index images per class (Denner et al. 2024, figure 3 B).

    Classes have equally many queries and index images. Index images are drawn at random, several times; the interval is
    that of the mean over draws. Results stay in view medcbir.ablation_precision; figure 3 A is view
    medcbir.class_size_precision.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json, render_rows

    with progress() as shown:
        found = db.ablate_index_size(
            encoder=encoder,
            sizes=sizes,
            larger_than=larger_than,
            queries_per_class=queries_per_class,
            n=n,
            seeds=seeds,
            seed=seed,
            queries=None if queries == "all" else queries,  # type: ignore[arg-type]
            index=None if index == "all" else index,  # type: ignore[arg-type]
            exclude_same_patient=exclude_same_patient,
            progress=shown,
        )
    if output == "json":
        render_json(asdict(found))
        return
    title = (
        f"P@N by index images per class: {found.encoder}, {found.classes} classes of more than {found.larger_than} "
        f"images, {found.queries_per_class} queries each, {seeds} draws"
    )
    columns = ["images_per_class", "n", "value", "std", "ci_low", "ci_high", "seeds"]
    render_rows(title, columns, [[getattr(point, name) for name in columns] for point in found.points], output)
