"""Numbers about a classification, from the views `classification_f1` and `classification_auprc`."""

from medcbir.errors import RunError
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Classification, ClassificationMetric


def metrics(
    connection: Connection, classification: Classification, *, by_class: bool = False
) -> list[ClassificationMetric]:
    """F1 and AUPRC, micro and macro (Denner et al. 2024, Table 4); `by_class`, of each class.

    Raises `RunError` where no query has exactly one label.
    """
    if not classification.labelled_queries:
        raise RunError(
            f"classification {classification.classification_id} has no query with exactly one label, so there is "
            "nothing to measure: its predictions are in medcbir.prediction"
        )
    with connection.transaction():
        connection.execute("SET LOCAL jit = off")
        rows = connection.execute(
            query("classification_metrics"),
            {"classification_id": classification.classification_id, "by_class": by_class},
        ).fetchall()
    return [ClassificationMetric(*row) for row in rows]
