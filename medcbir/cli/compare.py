"""medcbir compare."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, metrics, numbers, output_format

if TYPE_CHECKING:
    from medcbir.api import Database
    from medcbir.evaluation.metrics import Facet


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--n", "n", callback=numbers, metavar="1,3,5,10", help="Which N of P@N.  [default: 1,3,5,10 as far as all runs go]"
)
@metrics
@click.option("--leakage", is_flag=True, help="Compare one RUN with itself without hits that leak.")
@click.option(
    "--within",
    type=click.FloatRange(min=0, max=2),
    default=0.01,
    show_default=True,
    metavar="DISTANCE",
    help="With --leakage: the largest cosine distance of a near duplicate.",
)
@output_format("table", "json", "csv", "latex", "markdown")
@database
def compare(
    db: "Database",
    runs: tuple[str, ...],
    n: list[int] | None,
    metric: list[str],
    by: "list[Facet]",
    leakage: bool,
    within: float,
    output: str,
) -> None:
    """Print how much metrics of runs differ, with intervals and p-values: precision at N, unless others are named.

    Every pair of runs, on the queries that all of them answered: the first less the second, its 95 % interval by
    resampling patients, p by flipping patients' signs, p after Holm's correction for the number of pairs, and the share
    of their first N hits that both return.

    With --leakage: one run less itself without hits of the query's patient, without exact and near duplicates of the
    query, and without both; seen tells whether the encoder was trained on a dataset of the queries. Retrieve with
    --no-exclude-same-patient and more hits than N for it.
    """
    from medcbir.cli.render import render_json, render_rows

    if leakage and len(runs) != 1:
        raise click.UsageError("--leakage takes one RUN")
    if leakage:
        found = db.leakage(runs[0], n=n, metric=metric, by=by, within=within)
    else:
        found = db.compare(runs, n=n, metric=metric, by=by)
    seen = {run.name: db.seen(run.encoder) for run in found.runs}
    if output == "json":
        render_json(asdict(found) | {"runs": [asdict(run) | {"seen": seen[run.name]} for run in found.runs]})
        return
    columns = ["first", "second", "metric", "n", "average", "definition", "queries", "first_value", "second_value"]
    columns += ["difference", "ci_low", "ci_high", "p", *(["seen"] if leakage else ["p_holm", "overlap"])]
    title = f"Differences on {found.queries} queries of {found.patients} patients"
    groups = ["group", "second_group"][: len(by)]
    rows = [[getattr(each, name) for name in [*groups, *columns]] for each in found.differences]
    render_rows(title, [*by, *columns], rows, output)
    for warning in found.warnings:
        click.echo(f"Note: {warning}", err=True)
    for run in found.runs:
        if seen[run.name]:
            click.echo(f"Note: {run.encoder} was trained on {', '.join(seen[run.name] or ())}", err=True)
