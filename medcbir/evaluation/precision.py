"""Precision at N of a run, from the metric views (Denner et al. 2024, section 2.4)."""

from collections.abc import Sequence
from typing import Literal

from medcbir.errors import InputError, RunError
from medcbir.evaluation.scores import with_intervals
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Definition, Metric, Run

Facet = Literal["class", "modality", "region", "dataset", "kind"]
DEFAULT_N = (1, 3, 5, 10)


def evaluate(
    connection: Connection, run: Run, *, n: Sequence[int] | None = None, by: Facet | None = None
) -> list[Metric]:
    """P@N of `run`, micro and macro, by both definitions, for each N; within each group of a facet with `by`.

    Intervals are those of `bootstrap`. Without `n` those of 1, 3, 5, 10 that the run reaches. Raises `InputError` for
    an N beyond the run's, `RunError` where no query has exactly one label.
    """
    wanted = wanted_n([run], n)
    rows = connection.execute(
        query("precision_by" if by else "precision"), {"run_id": run.run_id, "n": wanted, "facet": by}
    ).fetchall()
    if not rows:
        raise RunError(
            f"run {run.name} has no query with exactly one label, so there is nothing to evaluate: give images labels "
            "on ingest (folders MODALITY/region/finding, --label-from, or a manifest)"
        )
    metrics = [
        Metric(size, average, definition, value, std, queries, undefined, group=group)
        for size, average, precision, precision_std, capped, capped_std, queries, undefined, group in rows
        for definition, value, std in _both((precision, precision_std), (capped, capped_std))
    ]
    return with_intervals(connection, run, metrics, by)


def wanted_n(runs: Sequence[Run], n: Sequence[int] | None) -> list[int]:
    """`n` in order, by default those of 1, 3, 5, 10 that all `runs` reach; `InputError` for one beyond a run's."""
    shortest = min(runs, key=lambda run: run.n)
    wanted = sorted(set(n)) if n else [each for each in DEFAULT_N if each <= shortest.n] or [shortest.n]
    if wanted[0] < 1:
        raise InputError(f"N of P@N must be 1 or more, not {wanted[0]}")
    if wanted[-1] > shortest.n:
        raise InputError(f"run {shortest.name} keeps {shortest.n} hits per query: retrieve again with -n {wanted[-1]}")
    return wanted


def _both(
    paper: tuple[float, float | None], capped: tuple[float | None, float | None]
) -> tuple[tuple[Definition, float | None, float | None], ...]:
    return (("paper", *paper), ("capped", *capped))
