"""medcbir doctor."""

from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, output_format

if TYPE_CHECKING:
    from medcbir.api import Database

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command()
@output_format("text", "json")
@database
def doctor(db: "Database", output: str) -> int:
    """Check that everything works: server, schema, disk, weights, coverage, plans, and real queries with their time.

    Nothing is changed. What is wrong comes with the next step; the exit code is 1 where a check failed.
    """
    from dataclasses import asdict

    from medcbir.cli.render import render_json
    from medcbir.doctor import examine

    checks = []
    for check in examine(db):
        checks.append(check)
        if output == "text":
            step = f"\n         next: {check.next_step}" if check.next_step else ""
            click.echo(
                f"{click.style(f'{check.state:7}', fg=_COLOURS[check.state])}  {check.name}: {check.found}{step}"
            )
    well = all(check.state != "failed" for check in checks)
    if output == "json":
        render_json({"ok": well, "checks": [asdict(check) for check in checks]})
    return 0 if well else 1
