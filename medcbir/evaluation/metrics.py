"""Ranking metrics of a run, from the views (Denner et al. 2024, section 2.4; docs/evaluation.md).

A metric is a view `metric_<name>` of the database: nothing here names one but P@N, which is what is asked for unless
others are. `X_capped` is the other definition of a metric X.
"""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args

from psycopg.rows import namedtuple_row

from medcbir.errors import InputError, RunError
from medcbir.evaluation.scores import IntervalKey, read_intervals
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Definition, Metric, Run

Facet = Literal["class", "modality", "region", "dataset", "kind"]
FACETS: tuple[Facet, ...] = get_args(Facet)
DEFAULT_N = (1, 3, 5, 10)
_CAPPED = "_capped"


def evaluate(
    connection: Connection,
    run: Run,
    *,
    n: Sequence[int] | None = None,
    by: Facet | Sequence[Facet] | None = None,
    metric: str | Sequence[str] = "precision",
    possible_only: bool = False,
    intervals: bool = True,
) -> list[Metric]:
    """Micro and macro averages of metrics of `run` for each N, within each group of one facet or two with `by`.

    `metric` names one or several views `metric_<name>`, or 'all'; by every definition that the metric has. Without `n`
    those of 1, 3, 5, 10 that the run reaches. With `possible_only` queries without a possible relevant image take no
    part; with `intervals` each average has the 95 % interval of `bootstrap`. Raises `InputError` for an N beyond the
    run's, an unknown metric or facet, `RunError` where no query can be averaged.
    """
    names = wanted_metrics(connection, metric)
    facets = wanted_facets(by)
    sizes = wanted_n([run], n)
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(
            query("evaluate"),
            {
                "run_id": run.run_id,
                "metric": list(names),
                "n": sizes,
                "facet": facets[0] if facets else "all",
                "second_facet": facets[1] if len(facets) > 1 else "all",
                "possible_only": possible_only,
            },
        ).fetchall()
    if not rows and not run.labelled_queries:
        raise RunError(
            f"run {run.name} has no query with exactly one label, so there is nothing to evaluate: give images labels "
            "on ingest (folders MODALITY/region/finding, --label-from, or a manifest)"
        )
    if not rows:
        raise RunError(
            f"no query of run {run.name} has a relevant image that it may retrieve: retrieve among another --index"
        )
    ends = read_intervals(connection, run, list(names), sizes, facets, possible_only=possible_only) if intervals else {}
    nowhere = (None, None)
    return [
        Metric(
            n=row.n,
            average=row.average,
            definition=names[row.metric][1],
            value=row.value,
            std=row.std,
            queries=row.queries,
            undefined=row.undefined,
            ci_low=ends.get(_key(row, facets), nowhere)[0],
            ci_high=ends.get(_key(row, facets), nowhere)[1],
            group=row.group_name if facets else None,
            metric=names[row.metric][0],
            index=row.index_images,
            second_group=row.second_group if len(facets) > 1 else None,
        )
        for row in rows
    ]


def _key(row: Any, facets: Sequence[Facet]) -> IntervalKey:
    return row.metric, row.n, row.average, (row.group_name, row.second_group)[: len(facets)]


def wanted_n(runs: Sequence[Run], n: Sequence[int] | None) -> list[int]:
    """`n` in order, by default those of 1, 3, 5, 10 that all `runs` reach; `InputError` for one beyond a run's."""
    shortest = min(runs, key=lambda run: run.n)
    wanted = sorted(set(n)) if n else [each for each in DEFAULT_N if each <= shortest.n] or [shortest.n]
    if wanted[0] < 1:
        raise InputError(f"N of P@N must be 1 or more, not {wanted[0]}")
    if wanted[-1] > shortest.n:
        raise InputError(f"run {shortest.name} keeps {shortest.n} hits per query: retrieve again with -n {wanted[-1]}")
    return wanted


def wanted_metrics(connection: Connection, metric: str | Sequence[str]) -> dict[str, tuple[str, Definition | None]]:
    """Names of the views of the metrics that `metric` names, or of all, in order, with the metric and its definition.

    Raises `InputError` for an unknown one.
    """
    wanted = [metric] if isinstance(metric, str) else metric
    registered = [name for (name,) in connection.execute(query("metrics")).fetchall()]
    names = dict.fromkeys(name.removesuffix(_CAPPED) for name in registered)
    for name in wanted:
        if name != "all" and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"unknown metric {name!r}: {meant}There are {', '.join(names)}, or all")
    return {
        name: (name.removesuffix(_CAPPED), _definition(name, registered))
        for name in registered
        if "all" in wanted or name.removesuffix(_CAPPED) in wanted
    }


def wanted_facets(by: Facet | Sequence[Facet] | None) -> list[Facet]:
    """One facet or two as a list; raises `InputError` for an unknown one, the same twice, or more."""
    by = [by] if isinstance(by, str) else by or ()
    for facet in by:
        if facet not in FACETS:
            raise InputError(f"unknown facet {facet!r}: choose among {', '.join(FACETS)}")
    if len(by) > 2 or len(set(by)) < len(by):
        raise InputError(f"by {', '.join(by)}: name one facet, or two different ones")
    return list(by)


def _definition(name: str, registered: Sequence[str]) -> Definition | None:
    if name.endswith(_CAPPED):
        return "capped"
    return "paper" if name + _CAPPED in registered else None
