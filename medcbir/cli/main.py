"""The entry point: finds a command's module when it is asked for, and turns errors into one line and an exit code.

Exit codes: 0 done; 1 an error that the message explains; 2 wrong usage; 3 done, but something was rejected (see table
`rejected`); 130 interrupted by Ctrl-C, and the same command goes on.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

import click

from medcbir.errors import MedcbirError, NotCompiledWarning, printable
from medcbir.interrupts import noted

INTERRUPTED = 130
REJECTED = 3

_COMMANDS = {
    "ablate": "medcbir.cli.ablate:group",
    "bench": "medcbir.cli.bench:bench",
    "classify": "medcbir.cli.classify:group",
    "compare": "medcbir.cli.compare:compare",
    "db": "medcbir.cli.db:group",
    "demo": "medcbir.cli.demo:demo",
    "doctor": "medcbir.cli.doctor:doctor",
    "duplicates": "medcbir.cli.duplicates:duplicates",
    "encode": "medcbir.cli.encode:encode",
    "encoders": "medcbir.cli.encoders:group",
    "evaluate": "medcbir.cli.evaluate:evaluate",
    "filters": "medcbir.cli.filters:group",
    "index": "medcbir.cli.index:group",
    "ingest": "medcbir.cli.ingest:ingest",
    "map": "medcbir.cli.map:map_images",
    "neighbours": "medcbir.cli.neighbours:group",
    "receive": "medcbir.cli.receive:receive",
    "report": "medcbir.cli.report:report",
    "retrieve": "medcbir.cli.retrieve:retrieve",
    "runs": "medcbir.cli.runs:group",
    "search": "medcbir.cli.search:search",
    "vectors": "medcbir.cli.vectors:group",
    "watch": "medcbir.cli.watch:watch",
}


class _LateGroup(click.Group):
    """Commands are imported one at a time, so that none pays for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="medcbir", message="%(prog)s %(version)s")
def cli() -> None:
    """Find similar radiology images: encode, store in PostgreSQL, retrieve exactly, evaluate.

    Without a database URL an embedded PostgreSQL serves; the first command starts it. Try `medcbir demo`.
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    as_json = "--json" in sys.argv
    warnings.formatwarning = _one_line(warnings.formatwarning)
    try:
        code = _called()
    except click.exceptions.Exit as done:
        code = done.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        if isinstance(error, click.Abort) and not isinstance(error.__cause__, KeyboardInterrupt):  # of a question
            _tell("not confirmed, so nothing was changed; --yes answers beforehand", 1, as_json=as_json)
        _tell("interrupted; run the same command again to go on", INTERRUPTED, as_json=as_json)
    except click.UsageError as error:
        if not as_json:
            error.show()
            sys.exit(error.exit_code)
        _tell(error.format_message(), error.exit_code, as_json=True)
    except click.ClickException as error:
        _tell(error.format_message(), error.exit_code, as_json=as_json)
    except MedcbirError as error:
        _tell(str(error), error.exit_code, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; nothing is left to tell
        code = 0
    except OSError as error:
        if error.filename is None:
            raise
        _tell(f"{error.filename}: {error.strerror}", 1, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _called() -> object:
    """What the command returns. An error or a failure after Ctrl-C is Ctrl-C: some library has made that of it."""
    with noted() as interrupted:
        try:
            code: object = cli(prog_name="medcbir", standalone_mode=False)
        except Exception as error:
            if interrupted():
                raise KeyboardInterrupt from error
            raise
        return INTERRUPTED if interrupted() and code == 1 else code


def _one_line(usual: Callable[..., str]) -> Callable[..., str]:
    """Python's way of showing a warning, save for our own, of which a user needs no line of code."""

    def shown(message: Warning | str, category: type[Warning], *where: Any, **line: Any) -> str:
        if issubclass(category, NotCompiledWarning):
            return f"Warning: {printable(str(message))}\n"
        return usual(message, category, *where, **line)

    return shown


def _tell(message: str, code: int, *, as_json: bool) -> NoReturn:
    line = printable(" ".join(message.split()))
    click.echo(json.dumps({"error": {"message": line, "exit_code": code}}) if as_json else f"Error: {line}", err=True)
    sys.exit(code)
