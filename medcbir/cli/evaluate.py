"""medcbir evaluate."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, numbers, output_format

if TYPE_CHECKING:
    from medcbir.api import Database
    from medcbir.evaluation.precision import Facet


@click.command()
@click.argument("run", required=False)
@click.option(
    "--n",
    "n",
    callback=numbers,
    metavar="1,3,5,10",
    help="Which N of P@N.  [default: 1,3,5,10 as far as the run goes]",
)
@click.option(
    "--by", type=click.Choice(["class", "modality", "region", "dataset", "kind"]), help="Within each of these."
)
@output_format("table", "json", "csv", "latex")
@database
def evaluate(db: "Database", run: str | None, n: list[int] | None, by: "Facet | None", output: str) -> None:
    """Print precision at N of RUN (the newest, if not named), micro and macro.

    `paper` divides by N (Denner et al. 2024, equation 1), `capped` by the index images of the query's class where those
    are fewer, as the published code does.
    """
    from medcbir.cli.render import render_json, render_rows

    found = db.run(run)
    metrics = db.evaluate(found, n=n, by=by)
    if output == "json":
        render_json(
            {
                "run": found.name,
                "encoder": found.encoder,
                "queries": found.labelled_queries,
                "unlabelled_queries": found.queries - found.labelled_queries,
                "index": found.index,
                "exclude_same_patient": found.exclude_same_patient,
                "metrics": [asdict(metric) for metric in metrics],
            }
        )
        return
    columns = ["n", "average", "definition", "value", "std", "ci_low", "ci_high", "queries", "undefined"]
    title = (
        f"P@N of run {found.name}: {found.labelled_queries} queries, {found.index} index images, same patient "
        f"{'excluded' if found.exclude_same_patient else 'included'}"
    )
    shown = ["group", *columns] if by else columns
    heads = [by if name == "group" and by else name for name in shown]
    render_rows(title, heads, [[getattr(metric, name) for name in shown] for metric in metrics], output)
