"""medcbir runs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database
    from medcbir.types import Run


def certificate(run: "Run") -> str:
    """What vouches for a run's hits, in one line."""
    stated = run.certificate
    margin = stated["smallest_margin"]
    parts = [f"engine {stated['engine']}{' on ' if stated['hardware'] else ''}{stated['hardware']}"]
    if stated["bound"]["score"]:
        parts.append(f"scores within {stated['bound']['score']:.2g} of pgvector's")
    parts.append(f"{stated['candidates']['mean']:.1f} distances per query (at most {stated['candidates']['max']})")
    if margin is not None:
        parts.append(f"smallest margin after rank {run.n} {margin:.2g}, {stated['ties']} ties")
    if stated["sample"]:
        parts.append(f"{stated['sample']} queries again by pgvector with {stated['differences']} differences")
    return "; ".join(parts)


@click.group(name="runs")
def group() -> None:
    """Retrieval runs: what there is, how it was found, and its hits for other programs."""


@group.command(name="list")
@output_format("table", "json", "csv")
@database
def list_runs(db: "Database", output: str) -> None:
    """List runs, the newest first, with those that are not finished."""
    from medcbir.cli.render import render_json, render_rows

    finished, unfinished = db.runs(), db.unfinished_runs()
    if output == "json":
        render_json({"runs": [asdict(run) for run in finished], "unfinished": [asdict(run) for run in unfinished]})
        return
    columns = ["run", "encoder", "n", "engine", "queries", "index", "state"]
    rows: list[list[Any]] = []
    for part in unfinished:
        state = f"{part.state}, {part.answered} queries answered" + (f": {part.failure}" if part.failure else "")
        rows.append([part.name or part.run_id, part.encoder, part.n, part.engine, part.queries, part.index, state])
    rows += [
        [run.name, run.encoder, run.n, run.engine, run.queries, run.index, f"finished in {run.seconds:.1f} s"]
        for run in finished
    ]
    render_rows(f"{len(rows)} runs", columns, rows, output)


@group.command()
@click.argument("run")
@output_format("text", "json")
@database
def show(db: "Database", run: str, output: str) -> None:
    """Show RUN with its certificate: engine, bound, margins, ties, and what was checked again."""
    from medcbir.cli.render import render_json

    found = db.run(run)
    if output == "json":
        render_json(asdict(found))
        return
    for name, value in asdict(found).items():
        if name != "certificate":
            click.echo(f"{name:20} {value}")
    click.echo(f"{'certificate':20} {certificate(found)}")


@group.command()
@click.argument("run")
@database
def drop(db: "Database", run: str) -> None:
    """Remove RUN with all its hits; one that is not finished too (by its number, where it has no name)."""
    db.drop_run(run)
    click.echo(f"removed run {run}")


@group.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@database
def export(db: "Database", run: str, file: Path) -> None:
    """Write the hits of RUN to FILE, in the format that its suffix says.

    .parquet has a row per hit: query_id, query_uri, rank, image_id, hit_uri, distance, relevant. .csv is the published
    knn.csv: uris in columns query, 1, 2, ... .trec is a TREC run, with the relevance of its hits beside it as .qrels.
    """
    for written in db.export_run(run, file):
        click.echo(f"written: {written}")
