"""Numbers beside those of Denner et al. 2024: its tables 2, 3 and 4 (published.csv) and the counts of table 5."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from medcbir.ingest.survey import published_counts
from medcbir.types import Split

Key = tuple[str, str, str, str, int | None, str]
"""Table, encoder, method (retrieval, knn, linear), metric, N, and micro or macro."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The published value of a number and how much ours is above it; None for what is not there."""

    published: float | None = None
    difference: float | None = None


@cache
def published() -> dict[Key, float]:
    """Every published value of an encoder that the registry has."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return {
        (
            row["table"],
            row["encoder"],
            row["method"],
            row["metric"],
            int(row["n"]) if row["n"] else None,
            row["average"],
        ): float(row["value"])
        for row in csv.DictReader(text.splitlines())
        if row["encoder"]
    }


def beside_published(value: float | None, key: Key) -> Beside:
    """What was published in the place of `value`; the encoder goes by the registry's name."""
    return _beside(value, published().get(key))


def count_beside_published(images: int, dataset: str, modality: str, split: Split | None) -> Beside:
    """What table 5 has in the place of a number of images with exactly one label."""
    return _beside(images, published_counts(dataset, "").get(modality, {}).get(split or ""))


def _beside(value: float | None, theirs: float | None) -> Beside:
    return Beside(theirs, None if value is None or theirs is None else value - theirs)
