"""medcbir map."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import SPLITS, database, datasets, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database
    from medcbir.evaluation.layout import Method
    from medcbir.types import Split


@click.command(name="map")
@encoder
@click.option(
    "--method",
    type=click.Choice(["tsne", "pacmap"]),
    default="tsne",
    show_default=True,
    help="How to lay the images out.",
)
@datasets
@click.option("--modality", metavar="CODE", help="Only images of this modality, e.g. CT.")
@click.option("--region", metavar="NAME", help="Only images of this region.")
@click.option("--split", type=SPLITS, help="Only images of this split.")
@click.option("--limit", type=int, metavar="N", help="Only so many of them, drawn at random by the seed.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same map.")
@click.option(
    "--perplexity",
    type=float,
    metavar="P",
    help="Of t-SNE.  [default: 30]",
)
@click.option("--name", metavar="NAME", help="What to call it.  [default: encoder, method and number]")
@output_format("table", "json")
@database
def map_images(
    db: "Database",
    encoder: str,
    method: "Method",
    datasets: tuple[str, ...],
    modality: str | None,
    region: str | None,
    split: "Split | None",
    limit: int | None,
    seed: int,
    perplexity: float | None,
    name: str | None,
    output: str,
) -> None:
    """Lay images out in two dimensions by their vectors, neighbours near each other (Denner et al. 2024, figure 5).

    Coordinates are kept: view medcbir.projection_image has them with what each image shows, and SELECT
    medcbir.drop_projection(id) removes a map. Interrupted, it stores nothing.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json
    from medcbir.types import Filter

    with progress() as shown:
        made = db.map(
            encoder=encoder,
            method=method,
            where=Filter(datasets=list(datasets) or None, modality=modality, region=region, split=split),
            limit=limit,
            seed=seed,
            perplexity=perplexity,
            name=name,
            progress=shown,
        )
    if output == "json":
        render_json(asdict(made))
        return
    click.echo(
        f"Map {made.name}: {made.images} images by {made.method} in {made.seconds:.1f} s; its points are in view "
        f"medcbir.projection_image, projection_id {made.projection_id}"
    )
