"""medcbir evaluate."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, metrics, numbers, output_format

if TYPE_CHECKING:
    from medcbir.api import Database
    from medcbir.evaluation.metrics import Facet


@click.command()
@click.argument("run", required=False)
@click.option(
    "--n",
    "n",
    callback=numbers,
    metavar="1,3,5,10",
    help="Which N of P@N.  [default: 1,3,5,10 as far as the run goes]",
)
@metrics
@click.option(
    "--possible-only/--all-queries",
    default=False,
    show_default=True,
    help="Leave out queries that have no relevant image to retrieve, or average over all; they are counted as "
    "undefined.",
)
@click.option(
    "--intervals/--no-intervals",
    default=True,
    show_default=True,
    help="95 % intervals by resampling patients; most of the time on a large run.",
)
@output_format("table", "json", "csv", "latex", "markdown")
@database
def evaluate(
    db: "Database",
    run: str | None,
    n: list[int] | None,
    metric: list[str],
    by: "list[Facet]",
    possible_only: bool,
    intervals: bool,
    output: str,
) -> None:
    """Print metrics of RUN (the newest, if not named), micro and macro: precision at N, unless others are named.

    `paper` divides by N (Denner et al. 2024, equation 1), `capped` by the index images of the query's class where those
    are fewer, as the published code does.
    """
    from medcbir.cli.render import render_json, render_rows

    found = db.run(run)
    seen = db.seen(found.encoder)
    measured = db.evaluate(found, n=n, by=by, metric=metric, possible_only=possible_only, intervals=intervals)
    if output == "json":
        render_json(
            {
                "run": found.name,
                "encoder": found.encoder,
                "seen": seen,
                "queries": found.labelled_queries,
                "unlabelled_queries": found.queries - found.labelled_queries,
                "index": found.index,
                "exclude_same_patient": found.exclude_same_patient,
                "possible_only": possible_only,
                "by": by,
                "metrics": [asdict(each) for each in measured],
            }
        )
        return
    title = (
        f"Run {found.name}: {found.labelled_queries} queries, {found.index} index images, same patient "
        f"{'excluded' if found.exclude_same_patient else 'included'}"
    )
    groups = ["group", "second_group"][: len(by)]
    columns = ["metric", "n", "average", "definition", "value", "std", "ci_low", "ci_high"]
    columns += ["queries", "index", "undefined"]
    rows = [[getattr(each, name) for name in [*groups, *columns]] for each in measured]
    render_rows(title, [*by, *columns], rows, output)
    if seen:
        click.echo(f"Note: {found.encoder} was trained on {', '.join(seen)}", err=True)
