"""medcbir ingest."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medcbir.cli.main import INTERRUPTED, REJECTED
from medcbir.cli.options import SPLITS, database, device, encoders, output_format, wanted_of_a_pacs

if TYPE_CHECKING:
    from datetime import date

    from medcbir.api import Database, Device
    from medcbir.types import IngestReport, Split, Survey


@click.command()
@click.argument("path", metavar="PATH_OR_URL")
@click.option(
    "--dataset",
    default="auto",
    show_default=True,
    metavar="KIND",
    help="What it holds: auto, radimagenet, nih14, mimic, chexpert, covid, csv, published, folder, dicom or dicomweb.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the dataset to store; by default the folder's, manifest's or server's."
)
@click.option(
    "--label-from",
    metavar="TEMPLATE",
    help="How a path below PATH says what an image is, e.g. '{split}/{modality}/{region}/{finding}/{patient}_*'.",
)
@click.option("--split", type=SPLITS, help="Split of these images, whatever their source says.")
@click.option("--root", type=click.Path(path_type=Path), metavar="DIR", help="Where a manifest's relative paths start.")
@wanted_of_a_pacs
@encoders
@click.option("--metadata-only", is_flag=True, help="Catalogue a manifest without opening its images.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Count what PATH holds, beside the published numbers; nothing is opened or stored.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N files or rows.")
@device
@output_format("text", "json")
@database
def ingest(
    db: "Database",
    path: str,
    dataset: str,
    name: str | None,
    label_from: str | None,
    split: "Split | None",
    root: Path | None,
    modality: str | None,
    since: "date | None",
    encoder: tuple[str, ...],
    no_encode: bool,
    metadata_only: bool,
    dry_run: bool,
    limit: int | None,
    device: "Device",
    output: str,
) -> int:
    """Catalogue the images at PATH_OR_URL and encode them.

    It is a public dataset as its publisher lays it out (see docs/datasets.md), a folder of images (PNG, JPEG, TIFF,
    DICOM, NIfTI; by default labelled by folders MODALITY/region/finding), one image, a CSV manifest (columns uri,
    dataset, patient, split, modality, region, finding; others are kept), or the URL of a PACS's DICOMweb service (see
    docs/pacs.md).
    The same command again adds what is new and changes nothing else; files that cannot be read are listed in table
    medcbir.rejected with the reason, and the exit code is then 3.
    """
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json
    from medcbir.errors import printable

    what: dict[str, Any] = {
        "dataset": dataset,
        "name": name,
        "label_from": label_from,
        "split": split,
        "root": root,
        "limit": limit,
        "metadata_only": metadata_only,
        "modality": modality,
        "since": since,
    }
    if dry_run:
        with progress() as shown:
            survey = db.survey(path, **what, progress=shown)
        _show(survey, output)
        return 0
    with progress() as shown:
        report = db.ingest(path, **what, encoder=encoder, encode=not no_encode, device=device, progress=shown)
    if output == "json":
        render_json(asdict(report))
    else:
        for line in summary(report):
            click.echo(line)
        if report.rejected or report.ignored:
            click.echo("what was rejected, and why: SELECT uri, kind, reason FROM medcbir.rejected")
    lead = "rejected" if report.added + report.updated + report.unchanged else "Error: nothing could be used"
    for rejection in report.first_rejected:
        click.echo(printable(f"{lead}: {rejection.uri}: {rejection.reason}"), err=True)
    if report.interrupted or any(each.interrupted for each in report.encoded):
        click.echo("interrupted; run the same command again to go on", err=True)
        return INTERRUPTED
    return REJECTED if report.rejected or any(each.failed for each in report.encoded) else 0


def summary(report: "IngestReport") -> list[str]:
    """What an ingest did, a line for the catalogue and one for each encoder."""
    changed = f"{report.added} images added, {report.updated} updated"
    return [
        f"catalogue: {changed if report.added or report.updated else 'nothing new'}, {report.unchanged} unchanged, "
        f"{report.rejected} rejected, {report.ignored} files without an image, {report.seconds:.1f} s",
        *(
            f"encoder {each.encoder}: {each.encoded} images encoded, {each.failed} failed, {each.remaining} remaining, "
            f"{each.seconds:.1f} s"
            for each in report.encoded
        ),
        *(
            [
                f"exact duplicates in the catalogue: {report.duplicates}, {report.leaks} of them across splits "
                "(`medcbir duplicates` lists them)"
            ]
            if report.duplicates
            else []
        ),
    ]


def _show(survey: "Survey", output: str) -> None:
    from medcbir.cli.render import render_json, render_rows
    from medcbir.ingest.survey import REPEATED

    if output == "json":
        render_json(asdict(survey))
        return
    render_rows(
        f"{survey.images} images recognised as {survey.source}; those with exactly one label",
        ["dataset", "modality", "split", "images", "published", "difference"],
        [
            (each.dataset, each.modality, each.split or "none", each.images, each.published, each.difference)
            for each in survey.counts
        ],
        "table",
    )
    render_rows(
        "their classes",
        ["dataset", "modality", "pathology", "published", "anatomy", "published"],
        [
            (
                *(each.dataset, each.modality),
                *(each.pathology, each.published_pathology, each.anatomy, each.published_anatomy),
            )
            for each in survey.classes
        ],
        "table",
    )
    click.echo(f"regions ({len(survey.regions)}): {', '.join(survey.regions)}\n")
    if survey.exclusions:
        render_rows(
            "left out of an evaluation",
            ["count", "in the catalogue", "reason", "first"],
            [
                (each.count, "yes" if each.catalogued else "no", each.reason, next(iter(each.examples), None))
                for each in survey.exclusions
            ],
            "table",
        )
    if survey.unknown_labels:
        render_rows(
            "unknown labels", ["images", "label"], [(n, name) for name, n in survey.unknown_labels.items()], "table"
        )
    again = survey.repeated + sum(each.count for each in survey.exclusions if each.reason == REPEATED)
    click.echo(
        f"duplicates: {again} images are listed more than once, {survey.across_splits} of them in several splits; "
        "equal pictures, and files that cannot be read, are found by the ingest, which opens them"
    )
