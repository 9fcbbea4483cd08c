"""medcbir encoders."""

from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database


@click.group(name="encoders")
def group() -> None:
    """The encoders that medcbir knows, and their weights."""


@group.command(name="list")
@output_format("table", "json", "csv")
@database
def list_(db: "Database", output: str) -> None:
    """List encoders: dimension, licence, whether they read words too, whether weights are found, images encoded.

    A user's own encoders are among them (see docs/encoders.md), and so is whatever else the database has vectors of.
    No database is made merely to look; where there is none, images are not counted.
    """
    from medcbir.cli.render import render_json, render_rows

    encoders = db.encoders()
    if output == "json":
        render_json(encoders)
        return
    columns = ["name", "title", "dim", "domain", "licence", "words", "weights", "images"]
    rows = [
        [
            *(each[name] for name in columns[:5]),
            None if each["found"] is None else "yes" if each["text"] else "no",
            {True: "found", False: "missing", None: None}[each["found"]],
            each["images"],
        ]
        for each in encoders
    ]
    render_rows("encoders", columns, rows, output)


@group.command()
@click.argument("name")
@output_format("text", "json")
@database
def show(db: "Database", name: str, output: str) -> None:
    """Show an encoder's whole recipe, and where its weights are expected."""
    from medcbir.cli.render import render_json

    found = db.encoder(name)
    if output == "json":
        render_json(found)
        return
    for key, value in found.items():
        if key in {"seen", "sha256"} or value not in (None, "", {}):
            click.echo(f"{key}: {_in_words(value)}")


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not known" if value is None else str(value)


@group.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--allow-download", is_flag=True, help="Fetch missing weights from their public source first.")
@output_format("table", "json", "csv")
@database
def verify(db: "Database", names: tuple[str, ...], allow_download: bool, output: str) -> int:
    """Check weights: the file, its SHA-256, that it fills the model exactly, the vector of a real slice, words.

    Without NAME all encoders are looked at, and missing weights are no error; nothing is downloaded unasked.
    """
    from dataclasses import asdict

    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json, render_rows

    with progress() as shown:
        found = db.verify_encoders(names, allow_download=allow_download, progress=shown)
    if output == "json":
        render_json([asdict(each) for each in found])
    else:
        columns = ["name", "state", "known_sha256", "golden", "words", "sha256", "file"]
        render_rows("weights", columns, [[getattr(each, name) for name in columns] for each in found], output)
    wrong = [each for each in found if each.state == "failed" or (names and each.state == "missing")]
    for each in wrong:
        click.echo(f"Error: {' '.join(each.reason.split())}", err=True)
    return 1 if wrong else 0


@group.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_format("text", "json")
@database
def retire(db: "Database", name: str, yes: bool, output: str) -> None:
    """Drop an encoder's vectors, at once; runs and their metrics stay.

    After an encode with a new checkpoint, NAME still means the old vectors. Retire NAME once the new ones are complete:
    they get the name.
    """
    from dataclasses import asdict

    from medcbir.cli.render import render_json

    if not yes:
        plan = db.retirement(name)
        failed = f", which has no vector of {plan.failed} images that failed" if plan.failed else ""
        place = f" {plan.successor}{failed}, takes its place." if plan.successor else ""
        click.confirm(f"This drops {plan.vectors} vectors of {name}.{place} Go on?", abort=True, err=True)
    done = db.retire(name)
    if output == "json":
        render_json(asdict(done))
        return
    click.echo(f"{name}: {done.vectors} vectors dropped" + (f", {done.results} results kept" if done.results else ""))
    if done.successor:
        click.echo(f"{done.successor} is now {name}")


@group.command()
@click.argument("name", required=False)
@click.option("--failed", is_flag=True, help="List the images that could not be encoded, and why.")
@output_format("table", "json", "csv")
@database
def coverage(db: "Database", name: str | None, failed: bool, output: str) -> None:
    """Count the images of each dataset that each encoder, or NAME, has vectors of.

    done have one; missing wait for `medcbir encode`; stale had one until their pixels changed; failed could not be
    encoded; no_file were catalogued without a file.
    """
    from medcbir.cli.render import render_json, render_rows

    rows = db.encode_failures(name) if failed else db.coverage(name)
    if output == "json":
        render_json(rows)
        return
    columns = (
        ["encoder", "dataset", "image_id", "frame", "reason", "uri"]
        if failed
        else ["encoder", "dataset", "images", "done", "missing", "stale", "failed", "no_file"]
    )
    render_rows(
        "failed" if failed else "coverage", columns, [[row[column] for column in columns] for row in rows], output
    )
