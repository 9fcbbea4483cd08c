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
    """List encoders: dimension, domain, licence, whether the weights are found."""
    from medcbir.cli.render import render_json, render_rows

    encoders = db.encoders()
    if output == "json":
        render_json(encoders)
        return
    columns = ["name", "title", "dim", "domain", "licence", "found", "checkpoint"]
    rows = [[("yes" if each[c] else "no") if c == "found" else each[c] for c in columns] for each in encoders]
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
        click.echo(f"{key}: {value}")
