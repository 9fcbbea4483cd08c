"""medcbir db."""

import os
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database


@click.group(name="db")
def group() -> None:
    """The database: the embedded server, or the one that --database-url names."""


@group.command()
@output_format("text", "json")
@database
def status(db: "Database", output: str) -> None:
    """Say which database is in use, whether it runs, and what it holds. Starts nothing."""
    from medcbir.cli.render import render_json

    found = db.status()
    if output == "json":
        render_json(found)
        return
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' ')}: {'-' if value is None else value}")


@group.command()
@database
def start(db: "Database") -> None:
    """Start the embedded server, and install or upgrade the schema."""
    db.start()
    click.echo(f"running: {db.public_url}")


@group.command()
@database
def stop(db: "Database") -> None:
    """Stop the embedded server."""
    click.echo("stopped" if db.stop() else "it was not running")


@group.command()
@database
def url(db: "Database") -> None:
    """Print how to connect, for psql and other programs, without a password; starts the embedded server."""
    db.start()
    click.echo(db.public_url)


@group.command()
@click.option(
    "--to",
    "revision",
    default="head",
    show_default=True,
    metavar="REVISION",
    help="'head', a revision, or 'base' to remove all.",
)
@click.option("--yes", is_flag=True, help="Do not ask before a downgrade, which drops tables with their rows.")
@database
def upgrade(db: "Database", revision: str, yes: bool) -> None:
    """Install schema medcbir or bring it up to date; nothing outside that schema is touched."""
    if revision == "base" and not yes:
        click.confirm("This drops every image, vector and run that medcbir has stored. Go on?", abort=True)
    before, after = db.upgrade(revision)
    click.echo(f"schema medcbir: revision {before or 'none'} -> {after or 'none'}")


@group.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@database
def psql(db: "Database", arguments: tuple[str, ...]) -> None:
    """Open psql on the database, with ARGUMENTS of psql's own (e.g. -c 'SELECT ...')."""
    from psycopg.conninfo import conninfo_to_dict

    from medcbir.store.embedded import psql_command

    db.start()
    command = psql_command(db.conninfo)
    environment = os.environ | {"PGOPTIONS": "-c search_path=medcbir,public"}
    password = conninfo_to_dict(db.conninfo).get("password")
    if password:
        environment["PGPASSWORD"] = str(password)
    os.execvpe(command[0], [*command, *arguments], environment)  # noqa: S606
