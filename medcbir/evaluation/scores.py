"""Per-query values of a run from its metric views, and the intervals of the averages that `evaluate` shows."""

from collections.abc import Sequence

import numpy as np
from psycopg import sql

from medcbir.evaluation.bootstrap import AVERAGES, Scores, intervals
from medcbir.evaluation.numbering import Ids
from medcbir.store.binary_copy import copy_arrays, copy_columns
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Run

Column = tuple[str, int | None]
"""A metric's name, and N where it depends on it."""

Leaks = tuple[bool, float | None]
"""Which hits are left out: those of the query's patient or not, duplicates within a cosine distance or not (None)."""

IntervalKey = tuple[str, int | None, str, tuple[str, ...]]
"""A metric's name, N, micro or macro, and the group, by one name per facet."""

_ALL = "evaluation_query"
_WITHOUT = "evaluation_query_without(%(run_id)s, %(same_patient)s, %(within)s, %(metric)s::text[], %(n)s::integer[])"


def read_scores(
    connection: Connection,
    run: Run,
    metrics: Sequence[str],
    n: Sequence[int],
    *,
    possible_only: bool = False,
    without: Leaks | None = None,
) -> tuple[Scores, list[Column], Ids]:
    """Values of `metrics` of the q labelled queries of `run`, what their columns are, and the queries' datasets (q,).

    Queries are in the order of their ids; a query's cluster is its patient, or itself where that is unknown. Columns
    are in the order of `metrics`, then of N. With `possible_only` queries without a possible relevant image are left
    out. `without` leaves out hits (function evaluation_query_without); what that leaves unknown is undefined.
    """
    chosen = {"run_id": run.run_id, "possible_only": possible_only}
    queries = copy_columns(
        connection,
        sql.SQL(query("query_clusters")),
        chosen,
        dict.fromkeys(("query_id", "cluster_id", "label_id", "dataset_id"), "bigint"),
    )
    columns: list[Column] = connection.execute(
        query("score_columns"), {"run_id": run.run_id, "metric": list(metrics), "n": list(n)}
    ).fetchall()
    values = np.full((len(queries["query_id"]), len(columns)), np.nan)
    if columns:
        source = sql.SQL(_ALL if without is None else _WITHOUT)
        same_patient, within = without or (None, None)
        ids, found = copy_arrays(
            connection,
            sql.SQL(query("query_scores")).format(source=source),
            chosen | {"metric": list(metrics), "n": list(n), "same_patient": same_patient, "within": within},
            len(columns),
        )
        values[np.searchsorted(queries["query_id"], ids)] = found
    scores = Scores(queries["query_id"], queries["cluster_id"], queries["label_id"], values)
    return scores, columns, queries["dataset_id"]


def read_intervals(
    connection: Connection,
    run: Run,
    metrics: Sequence[str],
    n: Sequence[int],
    facets: Sequence[str],
    *,
    possible_only: bool = False,
) -> dict[IntervalKey, tuple[float | None, float | None]]:
    """The ends of the 95 % interval of every average of `metrics`, within the groups of `facets` if there are any."""
    scores, columns, datasets = read_scores(connection, run, metrics, n, possible_only=possible_only)
    groups, numbers = divide(connection, scores, datasets, facets)
    found = intervals(scores, numbers)
    return {
        (metric, size, average, group): (
            None if np.isnan(found.low[g, a, c]) else float(found.low[g, a, c]),
            None if np.isnan(found.high[g, a, c]) else float(found.high[g, a, c]),
        )
        for g, group in enumerate(groups)
        for a, average in enumerate(AVERAGES)
        for c, (metric, size) in enumerate(columns)
    }


def divide(
    connection: Connection, scores: Scores, datasets: Ids, facets: Sequence[str]
) -> tuple[list[tuple[str, ...]], Ids]:
    """Names of the groups of all facets together, and the number (q,) of each query's; one without a name of none."""
    dataset_names = dict(connection.execute("SELECT dataset_id, name FROM dataset").fetchall())
    labels = {
        row[0]: dict(zip(("class", "modality", "region", "kind"), row[1:], strict=True))
        for row in connection.execute("SELECT label_id, name, modality, region, kind FROM label").fetchall()
    }
    pairs, inverse = np.unique(np.stack([scores.classes, datasets], axis=1), axis=0, return_inverse=True)
    of_pairs = [
        tuple(dataset_names[dataset] if facet == "dataset" else labels[label][facet] for facet in facets)
        for label, dataset in pairs.tolist()
    ]
    groups = sorted(set(of_pairs))
    numbers = np.array([groups.index(names) for names in of_pairs], np.int64)
    return groups, numbers[inverse]
