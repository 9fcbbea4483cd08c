"""Reading `datasets.csv`: what each published dataset's own names mean."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import cast

from medcbir.types import Label, LabelKind


@cache
def publisher_labels(dataset: str) -> Mapping[str, Label | None]:
    """The label behind each name that `dataset` publishes, exactly as it is spelled there.

    None marks a name that is no finding (say Support Devices). A name that is not in the table is unknown: its meaning
    is nobody's to guess. An unknown dataset has no names.
    """
    return MappingProxyType({name: label for of, name, label in _table() if of == dataset})


@cache
def _table() -> tuple[tuple[str, str, Label | None], ...]:
    text = files(__package__).joinpath("datasets.csv").read_text(encoding="utf-8")
    return tuple((row["dataset"], row["published"], _label(row)) for row in csv.DictReader(text.splitlines()))


def _label(row: dict[str, str]) -> Label | None:
    if row["kind"] == "none":
        return None
    return Label(row["modality"], row["region"], row["finding"], cast(LabelKind, row["kind"]))
