"""medcbir search."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medcbir.cli.options import SPLITS, database, device, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database, Device
    from medcbir.types import Split


class _InOrder(click.Command):
    """A command that knows in which order --image and --text came, which click keeps apart."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta["parts"] = [parameter.name for parameter in order if parameter.name in {"images", "texts"}]
        return super().parse_args(ctx, args)


@click.command(cls=_InOrder)
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Query: an image file. Several of --image and --text make one query, the normalised sum of their vectors.",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="WORDS",
    help='Query: words, e.g. "pleural effusion", for an encoder with a text tower (`medcbir encoders list`).',
)
@click.option(
    "--weight",
    "weights",
    type=float,
    multiple=True,
    metavar="W",
    help="Of each --image and --text, in the order in which these are given.  [default: 1]",
)
@click.option("--id", "image_id", type=int, metavar="N", help="Query: a catalogued image, by its image_id.")
@encoder
@click.option("-n", "n", type=int, default=10, show_default=True, help="How many images to find.")
@click.option("--modality", metavar="NAME", help="Only images of this modality, e.g. CT.")
@click.option("--region", metavar="NAME", help="Only images of this anatomical region.")
@click.option("--dataset", metavar="NAME", help="Only images of this dataset.")
@click.option("--split", type=SPLITS, help="Only images of this split.")
@click.option("--finding", metavar="NAME", help="Only images with this finding.")
@click.option("--filter", "named", metavar="NAME", help="Only images that pass this filter (`medcbir filters list`).")
@click.option("--exclude-same-patient", is_flag=True, help="Leave out other images of the query's patient (with --id).")
@click.option("--exclude-same-study", is_flag=True, help="Leave out other images of the query's study (with --id).")
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
    texts: tuple[str, ...],
    weights: tuple[float, ...],
    image_id: int | None,
    encoder: str,
    n: int,
    modality: str | None,
    region: str | None,
    dataset: str | None,
    split: "Split | None",
    finding: str | None,
    named: str | None,
    exclude_same_patient: bool,
    exclude_same_study: bool,
    exclude_duplicates: bool,
    device: "Device",
    output: str,
    save: Path | None,
) -> None:
    """Find the most similar images, by exact cosine distance."""
    from medcbir.cli.render import render_json, render_rows
    from medcbir.types import Filter

    if weights and (images or texts):
        kinds = click.get_current_context().meta["parts"]
        if len(weights) != len(kinds):
            raise click.UsageError(f"{len(kinds)} of --image and --text, but {len(weights)} of --weight: give each one")
        # images first, as Python takes them; sorting is stable, so each kind keeps its order
        weights = tuple(weight for _, weight in sorted(zip(kinds, weights, strict=True), key=lambda pair: pair[0]))
    where = Filter(dataset=dataset, modality=modality, region=region, split=split, finding=finding, named=named)
    hits = db.search(
        image=images or None,
        text=texts or None,
        image_id=image_id,
        weights=weights or None,
        encoder=encoder,
        n=n,
        where=where,
        exclude_same_patient=exclude_same_patient,
        exclude_same_study=exclude_same_study,
        exclude_duplicates=exclude_duplicates,
        device=device,
    )
    query: dict[str, Any] = {} if image_id is None else {"id": image_id}
    for kind, given in (("image", [str(file) for file in images]), ("text", list(texts))):
        if given:
            query[kind] = given[0] if len(given) == 1 else given
    if weights:
        query["weights"] = list(weights)
    if save is not None:
        db.save_grid(save, hits, image=images[0] if images else None, image_id=image_id)
    covered = db.searchable(encoder, where)
    missing = covered.missing
    if missing:
        click.echo(
            f"{missing} of {covered.images} images have no vector of {encoder} and cannot be found: `medcbir encode`",
            err=True,
        )
    if output == "json":
        found = {"query": query, "encoder": encoder, "hits": [asdict(hit) for hit in hits], "without_vector": missing}
        render_json(found)
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
