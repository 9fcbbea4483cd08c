"""A run: top N of every query among an index, under one snapshot of the database, stored for the metric views."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.retrieval.cache import vectors_version
from medcbir.retrieval.certificate import Certificate
from medcbir.retrieval.engine import ENGINES, Hits, Task
from medcbir.retrieval.image_sets import Exclusions, Ids, ImageSet, check_filter, count_relevant, take_part
from medcbir.retrieval.search import check_n
from medcbir.retrieval.sharing import Connect, Contents, Parameters, SharedRun, digest, take_share
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.runs import QueryHits, copy_query_hits, partition_of_run
from medcbir.store.sqlfiles import query
from medcbir.types import Filter, Progress, Run, Silent

_RUN_COLUMNS = """
SELECT
    r.run_id, r.name, e.name, r.n, r.engine, r.query_count,
    (SELECT count(q.label_id) FROM run_query AS q WHERE q.run_id = r.run_id),
    r.index_count, r.seconds, r.exclude_same_patient, r.exclude_duplicates, r.exclude_same_study, r.certificate
FROM run AS r INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
"""

_LOOK_AGAIN = 0.2  # seconds between looks at what other processes have answered


def find_run(connection: Connection, name: str | None) -> Run:
    """The finished run of this name, the newest without one. `RunError` says which runs there are."""
    if name is None:
        row = connection.execute(_RUN_COLUMNS + "ORDER BY r.run_id DESC LIMIT 1").fetchone()
    else:
        row = connection.execute(_RUN_COLUMNS + "WHERE r.name = %s", (name,)).fetchone()
    if row is None:
        unfinished = connection.execute("SELECT FROM unfinished_run WHERE name = %s", (name,)).fetchone()
        if unfinished is not None:
            raise RunError(f"run {name!r} is not finished (`medcbir runs list`): the same `medcbir retrieve` goes on")
        names = [
            found[0] for found in connection.execute("SELECT name FROM run ORDER BY run_id DESC LIMIT 5").fetchall()
        ]
        have = f"the newest are {', '.join(names)}" if names else "there is none yet"
        what = f"no run {name!r}" if name else "no run"
        raise RunError(f"{what} in this database ({have}): make one with `medcbir retrieve --encoder NAME`")
    return Run(*row)


def all_runs(connection: Connection) -> list[Run]:
    """All finished runs, the newest first."""
    return [Run(*row) for row in connection.execute(_RUN_COLUMNS + "ORDER BY r.run_id DESC").fetchall()]


def drop_run(connection: Connection, name: str) -> None:
    """Remove a run, finished or not, with its hits; `name` is its number where it has no name. `RunError` for none."""
    row = connection.execute(
        "SELECT run_id FROM run WHERE name = %(name)s UNION ALL "
        "SELECT run_id FROM unfinished_run WHERE coalesce(name, run_id::text) = %(name)s",
        {"name": name},
    ).fetchone()
    if row is None:
        raise RunError(f"no run {name!r} in this database: `medcbir runs list` shows those there are")
    connection.execute("SELECT drop_run(%s)", row)


def retrieve(
    connection: Connection,
    connect: Connect,
    encoder: StoredEncoder,
    *,
    n: int,
    queries: Filter,
    index: Filter,
    exclusions: Exclusions,
    engine: str,
    name: str | None,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Run:
    """Retrieve the `n` nearest index images of every query and store them as a run.

    Other processes that call the same with the same name share the work, and one that was interrupted is gone on with
    (see `sharing`); until all is answered, nothing of it is seen. `connect` opens a second connection, which holds the
    snapshot; `cache_dir` may keep copies of vectors between runs.

    Raises `InputError` for n < 1, an unknown engine or filter, or a taken or unusable name; `RunError` where no image
    of `queries` or of `index` has a vector of the encoder, or the engine's answer fails its own checks.
    """
    check_n(n)
    if engine != "auto" and engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}: choose auto or {', '.join(ENGINES)}")
    if name is not None and not re.fullmatch(r"[\w.:+-]{1,100}", name):
        raise InputError(f"run name {name!r}: use up to 100 letters, digits and _ . : + -")
    for where in (queries, index):
        check_filter(connection, where)
    progress = progress or Silent()
    parameters = Parameters(
        encoder.encoder_id,
        n,
        engine,
        queries.given,
        index.given,
        exclusions.same_patient,
        exclusions.same_study,
        exclusions.duplicates,
    )

    def look(reader: Connection) -> Contents:
        query_set, missing_queries = take_part(reader, encoder, "queries", queries, exclusions)
        index_set, missing_index = take_part(reader, encoder, "index", index, exclusions)
        contents = digest(query_set, index_set, vectors_version(reader, encoder).version)
        return Contents(query_set, index_set, contents, {"queries": missing_queries, "index": missing_index})

    with take_share(connection, connect, parameters, name, look) as share:
        task = Task(share.reader, encoder, n, share.contents.queries, share.contents.index, exclusions, cache_dir)
        progress.begin(f"retrieve {encoder.name}", "queries", len(task.queries))
        if share.remark:
            progress.note(share.remark)
        _answer(share, task, progress)

        def attach(seconds: float, certificate: Certificate) -> None:
            stated = certificate.stated() | {"without_vector": share.contents.without_vector}
            _attach(connection, share.run_id, task.index, seconds, stated)

        share.finish(attach)
        row = connection.execute(_RUN_COLUMNS + "WHERE r.run_id = %s", (share.run_id,)).fetchone()
    if row is None:
        raise RunError("the run was dropped while it went on")
    return Run(*row)


def _answer(share: SharedRun, task: Task, progress: Progress) -> None:
    """Answer blocks until all are, by this process or another."""
    relevant = count_relevant(task.queries, task.index, task.exclusions)
    seen = 0
    while True:
        with closing(ENGINES[share.engine](task, share.claims())) as answers:
            for answer in answers:
                groups = list(_grouped(answer.hits, task, relevant))
                share.keep(
                    answer.block,
                    answer.certificate,
                    lambda groups=groups: copy_query_hits(share.connection, share.run_id, groups),  # type: ignore[misc]
                )
                answered = share.answered()
                progress.advance(answered - seen)
                seen = answered
        answered = share.answered()
        progress.advance(answered - seen)
        seen = answered
        if answered == len(task.queries):
            return
        time.sleep(_LOOK_AGAIN)  # until the others are done, or leave blocks behind


def _grouped(hits: list[Hits], task: Task, relevant: Ids) -> Iterator[QueryHits]:
    """The first n hits gathered by how many a query has, with the class of each."""
    by_count: dict[int, list[Hits]] = {}
    for position, ids, distances in hits:
        by_count.setdefault(min(task.n, len(ids)), []).append((position, ids[: task.n], distances[: task.n]))
    for items in by_count.values():
        positions = np.array([position for position, _, _ in items])
        ids = np.stack([found for _, found, _ in items])
        yield QueryHits(
            query_ids=task.queries.image_ids[positions],
            label_ids=task.queries.label_ids[positions],
            relevant=relevant[positions],
            hit_ids=ids,
            hit_distances=np.stack([distances for _, _, distances in items]),
            hit_label_ids=task.index.label_ids[np.searchsorted(task.index.image_ids, ids)],
        )


def _attach(
    connection: Connection, run_id: int, index: ImageSet, seconds: float, certificate: dict[str, object]
) -> None:
    """Make the unfinished run one that is seen, with its hits as a partition of run_query."""
    values = {"run_id": run_id, "seconds": seconds, "certificate": Jsonb(certificate)}
    connection.execute(query("finish_run"), values)
    connection.execute(
        sql.SQL("ALTER TABLE run_query ATTACH PARTITION {} FOR VALUES IN ({})").format(
            partition_of_run(run_id), sql.Literal(run_id)
        )
    )
    labels, counts = np.unique(index.label_ids[index.label_ids > 0], return_counts=True)
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY run_class (run_id, label_id, index_images) FROM STDIN") as copy,
    ):
        for label_id, count in zip(labels.tolist(), counts.tolist(), strict=True):
            copy.write_row((run_id, label_id, count))
