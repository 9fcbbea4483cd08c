"""Options that several commands share, and the database that they open."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar

import click

if TYPE_CHECKING:
    from medcbir.api import Database

R = TypeVar("R")
Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_ENCODER = "efficientnet_lite0"  # that of medcbir.encoders, whose import every --help would pay for
SPLITS = click.Choice(["train", "val", "test"])


def place(command: Command) -> Command:
    """Options that say which database is meant."""
    for option in (
        click.option("--json", "as_json", is_flag=True, expose_value=False, help="Print an error as JSON."),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=True),
            metavar="DIR",
            help="Where the embedded database lives (or MEDCBIR_DATA_DIR).",
        ),
        click.option(
            "--database-url",
            metavar="URL",
            help="Use this PostgreSQL instead of the embedded one (or DATABASE_URL, or libpq's PGHOST, ...).",
        ),
    ):
        command = option(command)
    return command


def database(command: Callable[Concatenate["Database", ...], R]) -> Callable[..., R]:
    """Give the command an open `Database` as its first argument, by the options of `place`."""

    @wraps(command)
    def opened(database_url: str | None, data_dir: Path | None, **arguments: Any) -> R:
        from medcbir.api import connect

        with connect(database_url, data_dir) as db:
            return command(db, **arguments)

    return place(opened)


def encoder(command: Command) -> Command:
    """Which encoder's vectors are meant."""
    return click.option(
        "--encoder",
        default=DEFAULT_ENCODER,
        show_default=True,
        metavar="NAME",
        help="Whose vectors; `medcbir encoders list` shows those there are.",
    )(command)


def wanted_of_a_pacs(command: Command) -> Command:
    """Which studies of a PACS are meant."""
    for option in (
        click.option(
            "--since",
            type=click.DateTime(["%Y-%m-%d"]),
            callback=lambda _, __, value: None if value is None else value.date(),
            metavar="DATE",
            help="Of a PACS, only studies of this date (YYYY-MM-DD) or later.",
        ),
        click.option("--modality", metavar="CODE", help="Of a PACS, only series of this modality, e.g. CT."),
    ):
        command = option(command)
    return command


def encoders(command: Command) -> Command:
    """With which encoders new images are encoded."""
    for option in (
        click.option("--no-encode", is_flag=True, help="Fill the catalogue only."),
        click.option(
            "--encoder",
            multiple=True,
            default=[DEFAULT_ENCODER],
            show_default=True,
            metavar="NAME",
            help="Encode with this encoder; may be repeated.",
        ),
    ):
        command = option(command)
    return command


def datasets(command: Command) -> Command:
    """Which datasets take part."""
    return click.option(
        "--dataset",
        "datasets",
        multiple=True,
        metavar="NAME",
        help="Only images of this dataset; may be repeated.  [default: all]",
    )(command)


def device(command: Command) -> Command:
    """Where the model runs."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="DEVICE",
        help="Where the model runs: cpu, cuda, cuda:1 (the second GPU), mps, or auto, the first that is there of cuda, "
        "mps and cpu.",
    )(command)


def output_format(*formats: str) -> Callable[[Command], Command]:
    """How the result is printed; the first format is the default."""
    return click.option(
        "--format", "output", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print it."
    )


def metrics(command: Command) -> Command:
    """Which metrics, and within which groups."""
    for option in (
        click.option(
            "--by",
            callback=_names,
            metavar="FACET[,FACET]",
            help="Within each group of class, modality, region, dataset or kind (pathology or anatomy), or of two of "
            "them.",
        ),
        click.option(
            "--metric",
            callback=_names,
            default="precision",
            show_default=True,
            metavar="NAME[,NAME]",
            help="Which metrics of docs/evaluation.md: precision, ndcg, hit_rate, ... or all.",
        ),
    ):
        command = option(command)
    return command


def _names(_: click.Context, __: click.Parameter, value: str | None) -> list[str]:
    return [part.strip() for part in value.split(",")] if value else []


def numbers(_: click.Context, __: click.Parameter, value: str | None) -> list[int] | None:
    """Callback of an option whose value is a list of whole numbers."""
    try:
        return None if value is None else [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers such as 1,3,5,10") from None
