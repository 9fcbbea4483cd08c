"""medcbir classify: knn and linear."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from medcbir.cli.options import database, datasets, device, encoder, output_format

if TYPE_CHECKING:
    from medcbir.api import Database, Device
    from medcbir.types import Classification


@click.group()
def group() -> None:
    """Classify the test images by their vectors, and measure F1 and AUPRC.

    The predictions are in table medcbir.prediction, every number in views medcbir.classification_f1 and _auprc.
    """


_by_class = click.option("--by-class", is_flag=True, help="Precision, recall, F1 and AUPRC of each class.")


def _k(_: click.Context, __: click.Parameter, value: str) -> int | None:
    try:
        return None if value == "auto" else int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither auto nor a whole number") from None


@group.command()
@encoder
@click.option(
    "-k",
    "k",
    callback=_k,
    default="auto",
    show_default=True,
    metavar="auto|K",
    help="Neighbours that vote; auto takes the best by micro AUPRC on the validation images.",
)
@click.option("--max-k", type=int, default=100, show_default=True, help="The largest K that auto tries.")
@click.option(
    "--weights",
    type=click.Choice(["uniform", "similarity"]),
    default="uniform",
    show_default=True,
    help="A neighbour's vote: one, or its cosine similarity.",
)
@datasets
@click.option(
    "--exclude-same-patient/--no-exclude-same-patient",
    default=True,
    show_default=True,
    help="Leave out other images of the query's patient.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "pgvector", "blocked"]),
    default="auto",
    show_default=True,
    help="How to retrieve; the answer is the same.",
)
@_by_class
@output_format("table", "json", "csv", "latex", "markdown")
@database
def knn(
    db: "Database",
    encoder: str,
    k: int | None,
    max_k: int,
    weights: Literal["uniform", "similarity"],
    datasets: tuple[str, ...],
    exclude_same_patient: bool,
    engine: str,
    by_class: bool,
    output: str,
) -> None:
    """By the vote of the nearest training images.

    Retrieval runs that fit are used again; missing ones are made.
    """
    from medcbir.cli.progress import progress

    with progress() as shown:
        made = db.classify_knn(
            encoder=encoder,
            k=k,
            max_k=max_k,
            weights=weights,
            datasets=datasets,
            exclude_same_patient=exclude_same_patient,
            engine=engine,
            progress=shown,
        )
    title = f"K = {made.k}{' (best on val)' if k is None else ''}, {weights} votes of run {made.run}"
    _show(db, made, title, by_class, output)


@group.command()
@encoder
@click.option("--epochs", type=int, default=100, show_default=True, help="Train so many epochs at most.")
@click.option(
    "--patience",
    type=int,
    default=20,
    show_default=True,
    help="Stop after so many epochs without a lower validation loss; 0 never stops early.",
)
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Learning rate of AdamW.")
@click.option("--weight-decay", type=float, default=0.01, show_default=True, help="Weight decay of AdamW.")
@click.option("--batch-size", type=int, default=256, show_default=True, help="Vectors per step.")
@click.option("--balanced", is_flag=True, help="Weigh classes by the inverse of their training images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first weights and the order.")
@datasets
@device
@_by_class
@output_format("table", "json", "csv", "latex", "markdown")
@database
def linear(
    db: "Database",
    encoder: str,
    epochs: int,
    patience: int,
    lr: float,
    weight_decay: float,
    batch_size: int,
    balanced: bool,
    seed: int,
    datasets: tuple[str, ...],
    device: "Device",
    by_class: bool,
    output: str,
) -> None:
    """By one linear layer trained on the training images' vectors.

    Validation images decide when to stop. Interrupted, it stores nothing.
    """
    from medcbir.cli.progress import progress

    with progress() as shown:
        made = db.classify_linear(
            encoder=encoder,
            epochs=epochs,
            patience=patience,
            lr=lr,
            weight_decay=weight_decay,
            batch_size=batch_size,
            balanced=balanced,
            seed=seed,
            datasets=datasets,
            device=device,
            progress=shown,
        )
    run = made.certificate
    _show(db, made, f"{run['epochs_run']} epochs, the best {run['best_epoch']}", by_class, output)


def _show(db: "Database", made: "Classification", how: str, by_class: bool, output: str) -> None:
    from medcbir.cli.render import render_json, render_rows

    metrics = db.evaluate_classes(made, by_class=by_class)
    if output == "json":
        values: dict[str, Any] = asdict(made)
        render_json(values | {"metrics": [asdict(metric) for metric in metrics]})
        return
    columns = ["metric", "average", "value", "queries", "classes", "undefined"]
    if by_class:
        columns = ["metric", "value", "queries", "group"]
    title = (
        f"Classification {made.classification_id}, {made.method} by {made.encoder}: {how}; "
        f"{made.labelled_queries} queries, {made.classes} classes known"
    )
    heads = ["class" if name == "group" else name for name in columns]
    render_rows(title, heads, [[getattr(metric, name) for name in columns] for metric in metrics], output)
