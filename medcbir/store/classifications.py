"""Rows of `classification` and `prediction`: dense scores of a linear probe go in by binary COPY."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.store.binary_copy import COPY_HEADER, COPY_TRAILER, array_fields
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Classification

_REAL = 700  # type oid of pg_type


@dataclass(frozen=True, slots=True)
class Scores:
    """q images and what they were predicted to be: `label_ids` (q,) with 0 for none, `scores` (q, classes) float32."""

    image_ids: npt.NDArray[np.int64]
    label_ids: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def partition_of_classification(classification_id: int) -> sql.Identifier:
    """The partition of `prediction` that holds this classification."""
    return sql.Identifier("medcbir", f"prediction_{classification_id}")


def add_classification(
    connection: Connection,
    method: str,
    encoder_id: int,
    run_id: int | None,
    label_ids: list[int],
    queries: int,
    parameters: Mapping[str, Any],
    certificate: Mapping[str, Any],
    seconds: float,
    name: str | None = None,
) -> int:
    """A new classification with its empty partition; returns its id. Raises `InputError` for a name that is taken."""
    require_free(connection, name)
    stated = Jsonb(dict(parameters)), Jsonb(dict(certificate))
    row = connection.execute(
        "SELECT add_classification(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (method, encoder_id, run_id, label_ids, queries, *stated, seconds, name),
    ).fetchone()
    return int(row[0])  # type: ignore[index]


def require_free(connection: Connection, name: str | None) -> None:
    """Raise `InputError` where a classification has this name."""
    if connection.execute("SELECT FROM classification WHERE name = %s", (name,)).fetchone() is not None:
        raise InputError(f"a classification named {name!r} exists: choose another name")


def find_classification(connection: Connection, classification_id: int) -> Classification:
    """The classification of this number; `RunError` where there is none."""
    row = connection.execute(query("classification"), {"classification_id": classification_id}).fetchone()
    if row is None:
        raise RunError(
            f"no classification {classification_id} in this database: make one with `medcbir classify knn` or "
            "`medcbir classify linear`"
        )
    return Classification(*row)


def copy_scores(connection: Connection, classification_id: int, chunks: Iterable[Scores]) -> None:
    """COPY predictions with the scores of all classes into the classification's partition.

    Raises `RunError` where one of the images is no longer there.
    """
    statement = sql.SQL(
        "COPY {} (classification_id, image_id, label_id, predicted_label_id, scores) FROM STDIN (FORMAT binary)"
    ).format(partition_of_classification(classification_id))
    try:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(COPY_HEADER)
            for chunk in chunks:
                for labelled in (True, False):
                    chosen = (chunk.label_ids > 0) == labelled
                    copy.write(_rows(classification_id, chunk, chosen, labelled=labelled).tobytes())
            copy.write(COPY_TRAILER)
    except psycopg.errors.ForeignKeyViolation:
        raise RunError("images were deleted while they were being classified: classify again") from None


def _rows(
    classification_id: int, chunk: Scores, chosen: npt.NDArray[np.bool_], *, labelled: bool
) -> npt.NDArray[np.void]:
    classes = chunk.scores.shape[1]
    columns: list[tuple[Any, ...]] = [("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i4")]
    columns += [("image_id_bytes", ">i4"), ("image_id", ">i8"), ("label_id_bytes", ">i4")]
    if labelled:
        columns.append(("label_id", ">i4"))
    columns += [("predicted_bytes", ">i4"), ("predicted", ">i4"), *array_fields("scores", ">f4", classes)]
    rows = np.zeros(int(chosen.sum()), dtype=np.dtype(columns))
    rows["fields"] = 5
    rows["id_bytes"], rows["id"] = 4, classification_id
    rows["image_id_bytes"], rows["image_id"] = 8, chunk.image_ids[chosen]
    rows["label_id_bytes"] = 4 if labelled else -1
    if labelled:
        rows["label_id"] = chunk.label_ids[chosen]
    rows["predicted_bytes"], rows["predicted"] = 4, chunk.predicted[chosen]
    rows["scores_bytes"], rows["scores_ndim"], rows["scores_oid"] = 20 + 8 * classes, 1, _REAL
    rows["scores_length"], rows["scores_lower"] = classes, 1
    rows["scores"]["bytes"], rows["scores"]["value"] = 4, chunk.scores[chosen]
    return rows
