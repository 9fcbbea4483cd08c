"""Rows of `run_query` by binary COPY: one row of arrays per query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.store.binary_copy import COPY_HEADER, COPY_TRAILER, array_fields
from medcbir.store.connection import Connection

_BIGINT, _INTEGER, _DOUBLE = 20, 23, 701  # type oids of pg_type


@dataclass(frozen=True, slots=True)
class QueryHits:
    """Hits of q queries that all have k: `label_ids` (q,) with 0 for none, the others (q, k), nearest first."""

    query_ids: npt.NDArray[np.int64]
    label_ids: npt.NDArray[np.int64]
    relevant: npt.NDArray[np.int64]
    hit_ids: npt.NDArray[np.int64]
    hit_distances: npt.NDArray[np.float64]
    hit_label_ids: npt.NDArray[np.int64]


def partition_of_run(run_id: int) -> sql.Identifier:
    """The partition of `run_query` that holds this run."""
    return sql.Identifier("medcbir", f"run_query_{run_id}")


def copy_query_hits(connection: Connection, run_id: int, groups: Sequence[QueryHits]) -> None:
    """COPY the hits of a run into its partition."""
    statement = sql.SQL(
        "COPY {} (run_id, query_id, label_id, relevant, hit_ids, hit_distances, hit_label_ids) "
        "FROM STDIN (FORMAT binary)"
    ).format(partition_of_run(run_id))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER)
        for group in groups:
            for labelled in (True, False):
                rows = _rows(run_id, group, (group.label_ids > 0) == labelled, labelled=labelled)
                copy.write(rows.tobytes())
        copy.write(COPY_TRAILER)


def _rows(run_id: int, group: QueryHits, chosen: npt.NDArray[np.bool_], *, labelled: bool) -> npt.NDArray[np.void]:
    k = group.hit_ids.shape[1]
    columns: list[tuple[Any, ...]] = [("fields", ">i2"), ("run_id_bytes", ">i4"), ("run_id", ">i4")]
    columns += [("query_id_bytes", ">i4"), ("query_id", ">i8"), ("label_id_bytes", ">i4")]
    if labelled:
        columns.append(("label_id", ">i4"))
    columns += [("relevant_bytes", ">i4"), ("relevant", ">i4")]
    arrays = (
        ("hit_ids", ">i8", 8, _BIGINT, group.hit_ids),
        ("hit_distances", ">f8", 8, _DOUBLE, group.hit_distances),
        ("hit_label_ids", ">i4", 4, _INTEGER, group.hit_label_ids),
    )
    for name, element, *_ in arrays:
        columns += array_fields(name, element, k)
    rows = np.zeros(int(chosen.sum()), dtype=np.dtype(columns))
    rows["fields"] = 7
    rows["run_id_bytes"], rows["run_id"] = 4, run_id
    rows["query_id_bytes"], rows["query_id"] = 8, group.query_ids[chosen]
    rows["label_id_bytes"] = 4 if labelled else -1
    if labelled:
        rows["label_id"] = group.label_ids[chosen]
    rows["relevant_bytes"], rows["relevant"] = 4, group.relevant[chosen]
    for name, _, width, oid, values in arrays:
        rows[f"{name}_bytes"] = 12 + (8 + k * (4 + width) if k else 0)
        rows[f"{name}_ndim"] = 1 if k else 0
        rows[f"{name}_oid"] = oid
        if k:
            rows[f"{name}_length"], rows[f"{name}_lower"] = k, 1
            rows[name]["bytes"], rows[name]["value"] = width, values[chosen]
    return rows
