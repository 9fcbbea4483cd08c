"""Classification by the vote of the nearest neighbours (Denner et al. 2024, Table 4), computed in SQL from runs."""

import time
from collections.abc import Callable
from typing import Any, Literal, get_args

from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.store.classifications import add_classification, find_classification, require_free
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition
from medcbir.types import Classification, Filter, Progress, Run, Silent, Split

Weights = Literal["uniform", "similarity"]
Retrieve = Callable[[Split, int], Run]
"""Gives a run of these queries among the training images that keeps at least so many hits."""


def fitting_run(
    connection: Connection,
    encoder: StoredEncoder,
    queries: Split,
    n: int,
    *,
    datasets: list[str] | None,
    exclude_same_patient: bool,
) -> str | None:
    """Name of the newest run that a new retrieval of `queries` among train would repeat; None where there is none."""
    row = connection.execute(
        sql.SQL(query("fitting_run")).format(partition=partition(encoder.name)),
        {
            "encoder_id": encoder.encoder_id,
            "queries": queries,
            "index": "train",
            "datasets": datasets,
            "query_filter": Jsonb(Filter(datasets=datasets, split=queries).given),
            "index_filter": Jsonb(Filter(datasets=datasets, split="train").given),
            "n": n,
            "exclude_same_patient": exclude_same_patient,
        },
    ).fetchone()
    return None if row is None else str(row[0])


def classify(
    connection: Connection,
    encoder: StoredEncoder,
    retrieve: Retrieve,
    *,
    k: int | None,
    max_k: int,
    weights: Weights,
    name: str | None = None,
    progress: Progress | None = None,
) -> Classification:
    """Classify the test images by the first `k` hits of each among the training images; see function `knn_vote`.

    Without `k`, the one of 1 to `max_k` with the highest micro AUPRC on the validation images, the smallest of equals.
    Raises `InputError` for K below 1, unknown weights or a taken name, `RunError` where no validation image can choose.
    """
    if (max_k if k is None else k) < 1:
        raise InputError(f"K must be 1 or more, not {max_k if k is None else k}")
    if weights not in get_args(Weights):
        raise InputError(f"unknown weights {weights!r}: choose {' or '.join(get_args(Weights))}")
    require_free(connection, name)
    progress = progress or Silent()
    started = time.perf_counter()
    certificate: dict[str, Any] = {}
    if k is None:
        run = retrieve("val", max_k)
        k, certificate = _choose(connection, run, max_k, weights, progress)
    run = retrieve("test", k)
    with connection.transaction():
        classes = connection.execute(
            "SELECT coalesce(array_agg(label_id ORDER BY label_id), '{}') FROM run_class WHERE run_id = %s",
            (run.run_id,),
        ).fetchone()
        assert classes is not None  # noqa: S101
        classification_id = add_classification(
            connection,
            "knn",
            encoder.encoder_id,
            run.run_id,
            classes[0],
            run.queries,
            {"k": k, "weights": weights, "exclude_same_patient": run.exclude_same_patient, "run": run.name},
            certificate,
            0.0,
            name,
        )
        connection.execute(
            query("insert_knn_predictions"),
            {"classification_id": classification_id, "run_id": run.run_id, "k": k, "weights": weights},
        )
        connection.execute(
            "UPDATE classification SET seconds = %s WHERE classification_id = %s",
            (time.perf_counter() - started, classification_id),
        )
    return find_classification(connection, classification_id)


def _choose(
    connection: Connection, run: Run, max_k: int, weights: Weights, progress: Progress
) -> tuple[int, dict[str, Any]]:
    """The best K itself, and what vouches for it: the validation run and the micro AUPRC of every K."""
    if not run.labelled_queries:
        raise RunError(
            f"no validation image in run {run.name} has exactly one label, so K cannot be chosen on them: give -k"
        )
    progress.begin("choose K", "K", max_k)
    auprc: list[float] = []
    for k in range(1, max_k + 1):
        row = connection.execute("SELECT knn_auprc(%s, %s, %s)", (run.run_id, k, weights)).fetchone()
        auprc.append(row[0])  # type: ignore[index]
        progress.advance(1)
    best = max(range(max_k), key=auprc.__getitem__) + 1
    progress.note(f"K = {best}")
    return best, {"validation_run": run.name, "criterion": "micro AUPRC", "auprc_by_k": auprc}
