"""medcbir bench."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medcbir.cli.options import output_format, place

if TYPE_CHECKING:
    from medcbir.bench import Benchmark, SuiteName


@click.command()
@click.option(
    "--suite",
    type=click.Choice(["paper", "smoke", "speed", "scale"]),
    default="paper",
    show_default=True,
    help="What to do: see above.",
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME",
    help="Only this encoder; may be repeated.  [default: all with weights or vectors]",
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="Only images of this dataset; may be repeated.  [default: the paper's, or else all but covid]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for the report and the state of the steps.  [default: bench-SUITE]",
)
@click.option(
    "--scale",
    type=click.FloatRange(0.001, 10),
    default=1.0,
    show_default=True,
    help="Size of suite scale's collection, 1 being the paper's 1.6 million images.",
)
@click.option("--only", multiple=True, metavar="STEP", help="Only steps of this kind; may be repeated.")
@click.option("--skip", multiple=True, metavar="STEP", help="No steps of this kind; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and about how long it takes on two cores.")
@output_format("table", "json")
@place
def bench(
    suite: "SuiteName",
    encoders: tuple[str, ...],
    datasets: tuple[str, ...],
    out: Path | None,
    scale: float,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    dry_run: bool,
    output: str,
    database_url: str | None,
    data_dir: Path | None,
) -> int:
    """Do the paper's whole protocol, step by step, and write a report.

    \b
    paper   the catalogued images, every encoder that has weights or vectors
    smoke   minutes: the few real images that installed packages bring
    speed   how fast encoding and retrieval are, beside other ways
    scale   the paper's size, on synthetic vectors whose truth is known

    Steps that are done are not done again while what they depend on stays the same, so the same command goes on after
    an interruption. What fails for one encoder does not stop the others; the exit code is then 1. All suites but
    paper keep a database of their own in DIR unless one is named.
    """
    from medcbir.bench import open_for, run
    from medcbir.cli.progress import progress
    from medcbir.cli.render import render_json, render_rows

    out = out or Path(f"bench-{suite}")
    with open_for(suite, out, database_url, data_dir) as db, progress() as shown:
        done = run(
            db,
            suite=suite,
            out=out,
            encoders=encoders,
            datasets=datasets,
            scale=scale,
            only=only,
            skip=skip,
            dry_run=dry_run,
            progress=shown,
        )
    if output == "json":
        names = ("status", "seconds", "peak_mib", "reason", "facts")
        steps = [{"step": each.step.name} | {name: getattr(each, name) for name in names} for each in done.outcomes]
        render_json({"suite": suite, "out": str(out), "steps": steps})
        return 1 if done.failed else 0
    columns = ["step", "status", "about, s" if dry_run else "s", "peak, MiB", "reason"]
    render_rows(f"benchmark {suite}", columns, _rows(done), "table")
    if dry_run:
        left = sum(each.seconds or 0.0 for each in done.outcomes if each.status == "to do")
        click.echo(f"to do: about {left / 60:.0f} minutes, an estimate for two cores that do nothing else")
        return 0
    if done.report.exists():
        click.echo(f"report: {done.report}")
    return 1 if done.failed else 0


def _rows(done: "Benchmark") -> list[list[object]]:
    return [
        [
            each.step.name,
            each.status,
            None if each.seconds is None else f"{each.seconds:.1f}",
            None if each.peak_mib is None else f"{each.peak_mib:.0f}",
            each.reason,
        ]
        for each in done.outcomes
    ]
