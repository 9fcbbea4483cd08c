"""medcbir neighbours."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from typing import TYPE_CHECKING, Any

import click

from medcbir.cli.options import database, numbers, output_format

if TYPE_CHECKING:
    from medcbir.api import Database

_formats = output_format("table", "json", "csv", "latex", "markdown")


@click.group(name="neighbours")
def group() -> None:
    """Look at neighbours beyond their labels: separation of classes, hubs, agreement of runs."""


def _render(title: str, rows: Sequence[Any], output: str) -> None:
    from medcbir.cli.render import render_json, render_rows

    if output == "json":
        render_json([asdict(row) for row in rows])
    elif rows:
        render_rows(title, [field.name for field in fields(rows[0])], [astuple(row) for row in rows], output)


@group.command()
@click.argument("run", required=False)
@_formats
@database
def silhouette(db: "Database", run: str | None, output: str) -> None:
    """Print how far apart the classes of RUN's queries lie (RUN: the newest, if not named), from -1 to 1.

    How much nearer hits of the own class are than those of the next other one (Rousseeuw 1987), over the hits that the
    run keeps: micro, macro, and of each class.
    """
    found = db.run(run)
    _render(f"Silhouettes of run {found.name} over {found.n} hits", db.silhouettes(found), output)


@group.command()
@click.argument("run", required=False)
@click.option("-k", "k", callback=numbers, metavar="1,3,5,10", help="[default: 1,3,5,10 as far as the run goes]")
@_formats
@database
def hubness(db: "Database", run: str | None, k: list[int] | None, output: str) -> None:
    """Print how unequally RUN (the newest, if not named) retrieves the images of its index among the first k hits.

    skewness is that of how often each image is retrieved (Radovanovic et al. 2010): large where some are hubs.
    bad_share is the share of hits of another class than their query's.
    """
    found = db.run(run)
    _render(f"Hubness of run {found.name}", db.hubness(found, k=k), output)


@group.command()
@click.argument("run", required=False)
@click.option("-k", "k", type=int, metavar="K", help="Among the first K hits.  [default: 10 as far as the run goes]")
@click.option("--limit", type=int, default=10, show_default=True, metavar="IMAGES", help="How many images.")
@_formats
@database
def hubs(db: "Database", run: str | None, k: int | None, limit: int, output: str) -> None:
    """Print the images that RUN (the newest, if not named) retrieves most often.

    bad_occurrences are those at queries of another class.
    """
    found = db.run(run)
    _render(f"Hubs of run {found.name}", db.hubs(found, k=k, limit=limit), output)


@group.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--n", "n", callback=numbers, metavar="1,3,5,10", help="[default: 1,3,5,10 as far as all runs go]")
@_formats
@database
def agreement(db: "Database", runs: tuple[str, ...], n: list[int] | None, output: str) -> None:
    """Print how alike the first n hits of RUNs are, of every pair on the queries of both.

    overlap is the share that both return, jaccard the share of what either returns, average_overlap the mean of
    overlaps up to n, to which the first hits add most (Fagin et al. 2003, Webber et al. 2010).
    """
    _render("Agreement of runs", db.agreement(runs, n=n), output)
