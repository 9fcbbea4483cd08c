"""medcbir search."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medcbir.cli.options import SPLITS, database, device, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database, Device
    from medcbir.types import Split


@click.command()
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Query: an image file; several make one query, the normalised sum of their vectors.",
)
@click.option(
    "--weight", "weights", type=float, multiple=True, metavar="W", help="Of each --image, in their order.  [default: 1]"
)
@click.option("--id", "image_id", type=int, metavar="N", help="Query: a catalogued image, by its image_id.")
@encoder
@click.option("-n", "n", type=int, default=10, show_default=True, help="How many images to find.")
@click.option("--modality", metavar="NAME", help="Only images of this modality, e.g. CT.")
@click.option("--region", metavar="NAME", help="Only images of this anatomical region.")
@click.option("--dataset", metavar="NAME", help="Only images of this dataset.")
@click.option("--split", type=SPLITS, help="Only images of this split.")
@click.option("--exclude-same-patient", is_flag=True, help="Leave out other images of the query's patient (with --id).")
@click.option("--exclude-duplicates", is_flag=True, help="Leave out images whose decoded pixels equal the query's.")
@device
@output_format("table", "json", "csv")
@click.option(
    "--save", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Draw query and neighbours here."
)
@database
def search(
    db: "Database",
    images: tuple[Path, ...],
    weights: tuple[float, ...],
    image_id: int | None,
    encoder: str,
    n: int,
    modality: str | None,
    region: str | None,
    dataset: str | None,
    split: "Split | None",
    exclude_same_patient: bool,
    exclude_duplicates: bool,
    device: "Device",
    output: str,
    save: Path | None,
) -> None:
    """Find the most similar images, by exact cosine distance."""
    from medcbir.cli.render import render_json, render_rows
    from medcbir.types import Filter

    hits = db.search(
        image=images or None,
        image_id=image_id,
        weights=weights or None,
        encoder=encoder,
        n=n,
        where=Filter(dataset=dataset, modality=modality, region=region, split=split),
        exclude_same_patient=exclude_same_patient,
        exclude_duplicates=exclude_duplicates,
        device=device,
    )
    files = [str(file) for file in images]
    query: dict[str, Any] = {"id": image_id} if not files else {"image": files[0] if len(files) == 1 else files}
    if weights:
        query["weights"] = list(weights)
    if save is not None:
        db.save_grid(save, hits, image=images[0] if images else None, image_id=image_id)
    if output == "json":
        render_json({"query": query, "encoder": encoder, "hits": [asdict(hit) for hit in hits]})
        return
    columns = [
        "rank",
        "image_id",
        "similarity",
        "modality",
        "region",
        "findings",
        "dataset",
        "patient",
        "split",
        "frame",
        "uri",
    ]
    rows = [[", ".join(hit.findings) if name == "findings" else getattr(hit, name) for name in columns] for hit in hits]
    render_rows(f"{len(hits)} most similar by {encoder}", columns, rows, output)
