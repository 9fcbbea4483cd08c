"""The published results (tables 2, 3 and 4 of Denner et al. 2024), read from published.csv."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from medcbir.report.registry import spec_of
from medcbir.report.tables import Measure

Key = tuple[str, str, str, str, int | None, str]
"""Table, encoder, method (retrieval, knn, linear), metric, N, and micro or macro."""


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


def beside_published(
    measure: Measure, table: str, encoder: str, method: str, metric: str, n: int | None, average: str
) -> Measure:
    """The measure with the published value of a stored encoder and the difference, if there is one."""
    spec = spec_of(encoder)
    value = published().get((table, spec.name if spec else encoder, method, metric, n, average))
    if value is None or measure.value is None:
        return replace(measure, published=value)
    return replace(measure, published=value, difference=measure.value - value)


def placed(measures: Sequence[Measure]) -> list[Measure]:
    """Measures of one column with their places: the best and, if it is another number, the second best."""
    distinct = sorted({each.value for each in measures if each.value is not None}, reverse=True)
    places = dict(zip(distinct[:2], (1, 2), strict=False)) if len(measures) > 1 else {}
    return [each if each.value is None else replace(each, place=places.get(each.value)) for each in measures]
