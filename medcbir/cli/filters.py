"""medcbir filters."""

from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database


@click.group(name="filters")
def group() -> None:
    """Named filters: conditions on images that an administrator defines, and anyone uses as --filter NAME."""


@group.command(name="list")
@output_format("table", "json", "csv")
@database
def list_filters(db: "Database", output: str) -> None:
    """List the named filters with their predicates."""
    from medcbir.cli.render import render_json, render_rows

    filters = db.filters()
    if output == "json":
        render_json([{"name": name, "predicate": predicate} for name, predicate in filters.items()])
        return
    render_rows(f"{len(filters)} filters", ["name", "predicate"], [list(item) for item in filters.items()], output)


@group.command()
@click.argument("name")
@click.argument("predicate")
@database
def add(db: "Database", name: str, predicate: str) -> None:
    """Define filter NAME by PREDICATE, an SQL expression on the columns of medcbir.image.

    For instance `medcbir filters add large "width >= 512 AND height >= 512"`. It needs the right to create in schema
    medcbir. PREDICATE is one expression; in a subquery it may read other tables, by the right of who defines it.
    """
    db.add_filter(name, predicate)
    click.echo(f"filter {name}: {predicate}")


@group.command()
@click.argument("name")
@database
def drop(db: "Database", name: str) -> None:
    """Remove filter NAME; runs that used it stay."""
    db.drop_filter(name)
    click.echo(f"removed filter {name}")
