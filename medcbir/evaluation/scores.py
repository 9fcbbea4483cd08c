"""Per-query values of a run from its metric views, and the intervals of the averages that `evaluate` shows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medcbir.evaluation.bootstrap import AVERAGES, Ids, Scores, intervals
from medcbir.store.columns import copy_columns
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Definition, Metric, Run

DEFINITIONS: tuple[Definition, ...] = ("paper", "capped")


def columns_of(n: Sequence[int]) -> list[tuple[int, Definition]]:
    """What the columns of `read_scores` are, for sorted `n`."""
    return [(size, definition) for size in n for definition in DEFINITIONS]


def read_scores(connection: Connection, run: Run, n: Sequence[int]) -> tuple[Scores, Ids]:
    """P@N of the q labelled queries of `run`, columns as `columns_of` says, and the dataset (q,) of each query.

    Queries are in the order of their ids; a query's cluster is its patient, or itself where that is unknown.
    """
    rows = copy_columns(
        connection,
        query("query_scores"),
        {"run_id": run.run_id, "n": list(n)},
        {
            **dict.fromkeys(("query_id", "cluster_id", "label_id", "dataset_id", "n"), "bigint"),
            **dict.fromkeys(("precision", "precision_capped"), "double precision"),
        },
    )
    values = np.stack([rows["precision"], rows["precision_capped"]], axis=1).reshape(-1, 2 * len(n))
    query_ids, clusters, classes, datasets = (
        rows[name][:: len(n)] for name in ("query_id", "cluster_id", "label_id", "dataset_id")
    )
    return Scores(query_ids, clusters, classes, values), datasets


def with_intervals(connection: Connection, run: Run, metrics: Sequence[Metric], by: str | None) -> list[Metric]:
    """`metrics` of `run`, within the groups of facet `by` if given, with `ci_low` and `ci_high`."""
    n = sorted({metric.n for metric in metrics})
    scores, datasets = read_scores(connection, run, n)
    groups, numbers = _groups(connection, scores, datasets, by)
    found = intervals(scores, numbers)
    columns = columns_of(n)

    def completed(metric: Metric) -> Metric:
        at = (
            groups.index(metric.group),
            AVERAGES.index(metric.average),
            columns.index((metric.n, metric.definition)),
        )
        low, high = (None if np.isnan(end[at]) else float(end[at]) for end in (found.low, found.high))
        return replace(metric, ci_low=low, ci_high=high)

    return [completed(metric) for metric in metrics]


def _groups(connection: Connection, scores: Scores, datasets: Ids, by: str | None) -> tuple[list[str | None], Ids]:
    """Names of the groups of a facet, and the number (q,) of each query's."""
    if by is None:
        return [None], np.zeros(len(datasets), np.int64)
    if by == "dataset":
        names = dict(connection.execute("SELECT dataset_id, name FROM dataset").fetchall())
        members = datasets
    else:
        rows = connection.execute("SELECT label_id, name, modality, region, kind FROM label").fetchall()
        at = ("class", "modality", "region", "kind").index(by) + 1
        names = {row[0]: row[at] for row in rows}
        members = scores.classes
    ids, inverse = np.unique(members, return_inverse=True)
    of_ids = [names[each] for each in ids.tolist()]
    groups = sorted(set(of_ids))
    numbers = np.array([groups.index(name) for name in of_ids], np.int64)
    return list(groups), numbers[inverse]
