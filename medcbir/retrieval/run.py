"""A run: top N of every query among an index, under one snapshot of the database, stored for the metric views."""

import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.retrieval.engine import ENGINES, Hits, Ids, ImageSet, Task, choose
from medcbir.retrieval.search import check_n
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.runs import QueryHits, copy_query_hits, partition_of_run
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import COPY_HEADER, COPY_TRAILER, partition
from medcbir.types import Filter, Progress, Run, Silent

_RUN_COLUMNS = """
SELECT
    r.run_id, r.name, e.name, r.n, r.engine, r.query_count,
    (SELECT count(q.label_id) FROM run_query AS q WHERE q.run_id = r.run_id),
    r.index_count, r.seconds, r.exclude_same_patient, r.exclude_duplicates
FROM run AS r INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
"""

_MEMBER = np.dtype(
    [
        ("fields", ">i2"),
        *(
            (name + part, form)
            for name in ("image_id", "patient_id", "label_id", "picture_id")
            for part, form in (("_bytes", ">i4"), ("", ">i8"))
        ),
    ]
)


def find_run(connection: Connection, name: str | None) -> Run:
    """The run of this name, the newest without one. `RunError` says which runs there are."""
    if name is None:
        row = connection.execute(_RUN_COLUMNS + "ORDER BY r.run_id DESC LIMIT 1").fetchone()
    else:
        row = connection.execute(_RUN_COLUMNS + "WHERE r.name = %s", (name,)).fetchone()
    if row is None:
        names = [
            found[0] for found in connection.execute("SELECT name FROM run ORDER BY run_id DESC LIMIT 5").fetchall()
        ]
        have = f"the newest are {', '.join(names)}" if names else "there is none yet"
        what = f"no run {name!r}" if name else "no run"
        raise RunError(f"{what} in this database ({have}): make one with `medcbir retrieve --encoder NAME`")
    return Run(*row)


def retrieve(
    connection: Connection,
    encoder: StoredEncoder,
    *,
    n: int,
    queries: Filter,
    index: Filter,
    exclude_same_patient: bool,
    exclude_duplicates: bool,
    engine: str,
    name: str | None,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Run:
    """Retrieve the `n` nearest index images of every query and store them as a run; all of it or, on failure, nothing.

    Raises `InputError` for n < 1, an unknown engine, or a taken or unusable name; `RunError` where no image of
    `queries` or of `index` has a vector of the encoder, or the engine's answer fails its own checks. `cache_dir` may
    keep copies of vectors between runs.
    """
    check_n(n)
    if engine != "auto" and engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}: choose auto or {', '.join(ENGINES)}")
    if name is not None and not re.fullmatch(r"[\w.:+-]{1,100}", name):
        raise InputError(f"run name {name!r}: use up to 100 letters, digits and _ . : + -")
    progress = progress or Silent()
    started = time.perf_counter()
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        query_set = _image_set(connection, "run_queries", encoder, queries, exclude_duplicates=exclude_duplicates)
        index_set = _image_set(connection, "run_index", encoder, index, exclude_duplicates=exclude_duplicates)
        _require_images(encoder, "queries", queries, query_set)
        _require_images(encoder, "index", index, index_set)
        chosen = choose(len(query_set), len(index_set)) if engine == "auto" else engine
        run_id = _insert_run(
            connection,
            name,
            encoder_id=encoder.encoder_id,
            n=n,
            engine=chosen,
            query_filter=Jsonb(queries.given),
            index_filter=Jsonb(index.given),
            exclude_same_patient=exclude_same_patient,
            exclude_duplicates=exclude_duplicates,
            query_count=len(query_set),
            index_count=len(index_set),
        )
        task = Task(connection, encoder, n, query_set, index_set, exclude_same_patient, cache_dir)
        relevant = count_relevant(query_set, index_set, exclude_same_patient=exclude_same_patient)
        progress.begin(f"retrieve {encoder.name}", "queries", len(query_set))
        groups = list(_grouped(_watched(ENGINES[chosen](task), progress), query_set, index_set, relevant))
        _store(connection, run_id, index_set, groups)
        connection.execute(
            "UPDATE run SET seconds = %s, certificate = %s WHERE run_id = %s",
            (time.perf_counter() - started, Jsonb(task.certificate), run_id),
        )
    row = connection.execute(_RUN_COLUMNS + "WHERE r.run_id = %s", (run_id,)).fetchone()
    assert row is not None  # noqa: S101
    return Run(*row)


def count_relevant(queries: ImageSet, index: ImageSet, *, exclude_same_patient: bool) -> Ids:
    """Index images of each query's class that it may retrieve (q,): not its picture, nor, if excluded, patient."""

    def equal(*columns: str) -> Ids:
        """How many index images have the query's class and the same in these columns."""
        wanted, among = (
            np.stack([images.label_ids, *(getattr(images, column) for column in columns)], axis=1)
            for images in (queries, index)
        )
        return _count_equal(wanted, among)

    counts = equal() - equal("picture_ids")
    if exclude_same_patient:
        of_patient = equal("patient_ids") - equal("patient_ids", "picture_ids")
        counts = counts - np.where(queries.patient_ids > 0, of_patient, 0)
    return np.where(queries.label_ids > 0, counts, 0).astype(np.int64)


def _count_equal(wanted: Ids, among: Ids) -> Ids:
    """How often each row of `wanted` (q, c) occurs among the rows of `among` (n, c)."""
    rows, inverse = np.unique(np.concatenate([among, wanted]), axis=0, return_inverse=True)
    counts = np.bincount(inverse[: len(among)], minlength=len(rows))
    return counts[inverse[len(among) :]]


def _image_set(
    connection: Connection, table: str, encoder: StoredEncoder, where: Filter, *, exclude_duplicates: bool
) -> ImageSet:
    statement = sql.SQL(query("create_run_sets")).format(table=sql.Identifier(table), partition=partition(encoder.name))
    client = psycopg.ClientCursor(connection)  # a utility statement takes no server-side parameters
    client.execute(statement, asdict(where) | {"exclude_duplicates": exclude_duplicates})
    client.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    members = sql.SQL(
        "COPY (SELECT image_id, coalesce(patient_id, 0), coalesce(label_id, 0)::bigint, picture_id FROM {} "
        "ORDER BY image_id) TO STDOUT (FORMAT binary)"
    ).format(sql.Identifier(table))
    with connection.cursor() as cursor, cursor.copy(members) as copy:
        answer = b"".join(copy)
    rows = np.frombuffer(answer[len(COPY_HEADER) : -len(COPY_TRAILER)], dtype=_MEMBER)
    return ImageSet(*(rows[name].astype(np.int64) for name in ("image_id", "patient_id", "label_id", "picture_id")))


def _require_images(encoder: StoredEncoder, role: str, where: Filter, found: ImageSet) -> None:
    if len(found) == 0:
        wanted = ", ".join(f"{name} {value}" for name, value in where.given.items()) or "any"
        raise RunError(
            f"no image for the {role} ({wanted}) has a vector of encoder {encoder.name}: give images a split on ingest "
            f"(`--split test`), run `medcbir encode --encoder {encoder.name}`, or choose with --queries and --index"
        )


def _insert_run(connection: Connection, name: str | None, **values: Any) -> int:
    """Insert the run; one without a name is called after its encoder and number."""
    columns = ["name", *values, "seconds"]
    statement = sql.SQL("INSERT INTO run ({}) VALUES ({}) RETURNING run_id").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(map(sql.Placeholder, columns))
    )
    try:
        row = connection.execute(statement, {"name": name or f"\N{BULLET}{time.time_ns()}", "seconds": 0.0, **values})
    except psycopg.errors.UniqueViolation:
        raise InputError(f"a run named {name!r} exists: choose another --name") from None
    run_id = int(row.fetchone()[0])  # type: ignore[index]
    if name is None:
        connection.execute(
            "UPDATE run SET name = (SELECT name FROM encoder WHERE encoder_id = run.encoder_id) || '-' || run_id "
            "WHERE run_id = %s",
            (run_id,),
        )
    return run_id


def _watched(hits: Iterator[Hits], progress: Progress) -> Iterator[Hits]:
    for item in hits:
        yield item
        progress.advance(1)


def _grouped(hits: Iterator[Hits], queries: ImageSet, index: ImageSet, relevant: Ids) -> Iterator[QueryHits]:
    """Hits gathered by how many a query has, with the class of each."""
    by_count: dict[int, list[Hits]] = {}
    for position, ids, distances in hits:
        by_count.setdefault(len(ids), []).append((position, ids, distances))
    for items in by_count.values():
        positions = np.array([position for position, _, _ in items])
        ids = np.stack([found for _, found, _ in items])
        yield QueryHits(
            query_ids=queries.image_ids[positions],
            label_ids=queries.label_ids[positions],
            relevant=relevant[positions],
            hit_ids=ids,
            hit_distances=np.stack([distances for _, _, distances in items]),
            hit_label_ids=index.label_ids[np.searchsorted(index.image_ids, ids)],
        )


def _store(connection: Connection, run_id: int, index: ImageSet, groups: list[QueryHits]) -> None:
    table = partition_of_run(run_id)
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE run_query INCLUDING COMMENTS)").format(table))
    copy_query_hits(connection, run_id, groups)
    attach = sql.SQL("ALTER TABLE run_query ATTACH PARTITION {} FOR VALUES IN ({})")
    try:
        connection.execute(attach.format(table, sql.Literal(run_id)))
    except psycopg.errors.ForeignKeyViolation:
        raise RunError("images among the queries were deleted while the run went on: retrieve again") from None
    labels, counts = np.unique(index.label_ids[index.label_ids > 0], return_counts=True)
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY run_class (run_id, label_id, index_images) FROM STDIN") as copy,
    ):
        for label_id, count in zip(labels.tolist(), counts.tolist(), strict=True):
            copy.write_row((run_id, label_id, count))
