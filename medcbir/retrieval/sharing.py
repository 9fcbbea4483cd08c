"""An unfinished run: what several processes share, and what a killed one leaves to be gone on with.

Its queries are cut into blocks. A process claims one with SKIP LOCKED, answers it, and commits its hits together with
the mark that it is answered, so a killed one loses no more than what it was at. All see one snapshot, which each
exports for the next to join. When all are gone, their snapshot is too: whoever comes then compares a digest of what
the run sees with that of now. Hits lie in the run's own table, which becomes a partition of run_query, and so visible,
at the end; a run whose answer contradicts pgvector never does.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.retrieval.certificate import Certificate
from medcbir.retrieval.engine import blocks_of, choose
from medcbir.retrieval.image_sets import ImageSet
from medcbir.store.connection import Connection
from medcbir.store.runs import partition_of_run
from medcbir.store.sqlfiles import query
from medcbir.types import UnfinishedRun

LOCK_CLASS = 0x6D656472  # "medr": of the advisory locks by which workers are known to live

Connect = Callable[[], Connection]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What makes two runs the same but for the images that they see; `engine` may be auto."""

    encoder_id: int
    n: int
    engine: str
    query_filter: dict[str, Any]
    index_filter: dict[str, Any]
    exclude_same_patient: bool
    exclude_same_study: bool
    exclude_duplicates: bool

    def differing(self, other: "Parameters") -> str:
        """The parameters that the other has otherwise, as `n 10 and not 5`."""
        theirs = asdict(other)
        return ", ".join(
            f"{name} {theirs[name]} and not {value}"
            for name, value in asdict(self).items()
            if theirs[name] != value and (name, value) != ("engine", "auto")
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """Who takes part, as a snapshot has it, a digest of that and of their vectors, and how many lack a vector."""

    queries: ImageSet
    index: ImageSet
    sha256: bytes
    without_vector: dict[str, int]


def digest(queries: ImageSet, index: ImageSet, version: str) -> bytes:
    """SHA-256 of all that decides a run's hits: who takes part, and the version of the encoder's vectors."""
    whole = hashlib.sha256(version.encode())
    for images in (queries, index):
        for column in (images.image_ids, images.patient_ids, images.label_ids, images.picture_ids, images.study_ids):
            whole.update(f"/{len(column)}/".encode())
            whole.update(column.data)
    return whole.digest()


@contextmanager
def worker(connection: Connection) -> Iterator[int]:
    """A number that counts as alive as long as this lasts and the connection does."""
    number = secrets.randbelow(2**31)
    connection.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, number))
    try:
        yield number
    finally:
        with suppress(psycopg.Error):
            connection.execute(
                "UPDATE run_block SET worker = NULL WHERE worker = %s AND answered_at IS NULL", (number,)
            )
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, number))


@dataclass(slots=True)
class SharedRun:
    """This process's part in an unfinished run: it holds the run's snapshot on `reader`, in a transaction."""

    connection: Connection
    reader: Connection
    run_id: int
    engine: str
    worker: int
    contents: Contents
    remark: str = ""
    _claimed: dict[range, int] = field(default_factory=dict)

    def claim(self) -> range | None:
        """The positions of the next queries that nobody alive answers; None where there are none."""
        row = self.connection.execute(
            query("claim_block"), {"run_id": self.run_id, "worker": self.worker, "lock_class": LOCK_CLASS}
        ).fetchone()
        if row is None:
            return None
        block = range(row[1], row[2])
        self._claimed[block] = row[0]
        return block

    def claims(self) -> Iterator[range]:
        """Blocks until there are none to claim."""
        while (block := self.claim()) is not None:
            yield block

    def keep(self, block: range, certificate: Certificate, store: Callable[[], None]) -> None:
        """Commit what `store` writes together with the mark that the block is answered.

        Raises `RunError`, after the run is marked as failed, where the certificate tells of a contradiction.
        """
        if certificate.contradiction is not None:
            self._fail(certificate)
        try:
            with self.connection.transaction():
                store()
                kept = self.connection.execute(
                    "UPDATE run_block SET answered_at = clock_timestamp(), certificate = %s "
                    "WHERE run_id = %s AND block = %s AND worker = %s AND answered_at IS NULL",
                    (Jsonb(asdict(certificate)), self.run_id, self._claimed.pop(block), self.worker),
                ).rowcount
                if not kept:  # taken over by another, to which this process seemed dead
                    raise psycopg.Rollback
        except psycopg.errors.UndefinedTable:
            raise RunError("the run was dropped while it went on") from None

    def answered(self) -> int:
        """How many queries are answered, by whomever. Raises `RunError` if the run failed elsewhere."""
        row = self.connection.execute(
            "SELECT u.failure, (SELECT coalesce(sum(b.last_query - b.first_query), 0)::bigint FROM run_block AS b "
            "WHERE b.run_id = u.run_id AND b.answered_at IS NOT NULL) FROM unfinished_run AS u WHERE u.run_id = %s",
            (self.run_id,),
        ).fetchone()
        if row is None:  # another process has finished it
            return len(self.contents.queries)
        if row[0] is not None:
            raise RunError(f"{row[0]}, so the run is marked as failed")
        return int(row[1])

    def finish(self, attach: Callable[[float, Certificate], None]) -> None:
        """Let `attach` make it a run, given the seconds it took; nothing where another process has done so.

        Raises `RunError` where it was dropped meanwhile, or a query's image deleted, and then nothing of it is left.
        """
        try:
            with self.connection.transaction():
                row = self.connection.execute(
                    "SELECT worked + extract(epoch FROM clock_timestamp() - started_at)::double precision "
                    "FROM unfinished_run WHERE run_id = %s FOR UPDATE",
                    (self.run_id,),
                ).fetchone()
                if row is None:
                    return
                parts = self.connection.execute(
                    "SELECT certificate FROM run_block WHERE run_id = %s ORDER BY block", (self.run_id,)
                ).fetchall()
                certificate = _certificate(parts[0][0])
                for part in parts[1:]:
                    certificate |= _certificate(part[0])
                attach(row[0], certificate)
                self.connection.execute("DELETE FROM unfinished_run WHERE run_id = %s", (self.run_id,))
        except psycopg.errors.ForeignKeyViolation:
            self.connection.execute("SELECT drop_run(%s)", (self.run_id,))
            raise RunError("images among the queries were deleted while the run went on: retrieve again") from None

    def _fail(self, certificate: Certificate) -> None:
        failure = certificate.contradiction
        with self.connection.transaction():
            self.connection.execute(
                "UPDATE unfinished_run SET failure = %s WHERE run_id = %s AND failure IS NULL", (failure, self.run_id)
            )
            self.connection.execute(sql.SQL("TRUNCATE {}").format(partition_of_run(self.run_id)))
        raise RunError(
            f"{failure}, so the run is marked as failed and none of it is shown: use `--engine pgvector`, remove "
            "folder cache of the data directory, and report it"
        )


def _certificate(stored: dict[str, Any]) -> Certificate:
    return Certificate(**stored | {"hardware": tuple(stored["hardware"])})


Look = Callable[[Connection], Contents]
"""Finds who takes part, in a connection's transaction."""


@contextmanager
def take_share(
    connection: Connection, connect: Connect, parameters: Parameters, name: str | None, look: Look
) -> Iterator[SharedRun]:
    """Begin a run, or join or go on with the unfinished one of this `name` and the same `parameters`.

    Without a name, one without a name that nobody works on any more is gone on with, if there is one. Raises
    `InputError` where the name is that of a finished run, or of an unfinished one with other parameters.
    """
    started = time.perf_counter()
    with worker(connection) as number, connect() as reader:
        share = None
        while share is None:  # another process may begin it in the same moment, and is joined then
            with connection.transaction():
                share = _join(connection, reader, number, parameters, name, look) or _begin(
                    connection, reader, number, parameters, name, look, started
                )
        try:
            yield share
        finally:
            with suppress(psycopg.Error):
                reader.rollback()


def _snapshot(reader: Connection, exported: str | None = None) -> bool:
    """Open a transaction on `reader`, of the snapshot that was exported under this name; False if that is gone."""
    reader.rollback()
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    if exported is not None:
        try:
            reader.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
        except _GONE:
            return False
    return True


_GONE = (
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


def _export(reader: Connection) -> str:
    row = reader.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None  # noqa: S101
    return str(row[0])


def _begin(
    connection: Connection,
    reader: Connection,
    number: int,
    parameters: Parameters,
    name: str | None,
    look: Look,
    started: float,
) -> SharedRun | None:
    """A new unfinished run; None where another process has begun it since this one looked."""
    _require_free(connection, name)
    _snapshot(reader)
    contents = look(reader)
    engine = parameters.engine
    if engine == "auto":
        engine = choose(len(contents.queries), len(contents.index))
    row = connection.execute(
        query("begin_run"),
        _bound(parameters)
        | {
            "name": name,
            "engine": engine,
            "query_count": len(contents.queries),
            "index_count": len(contents.index),
            "contents_sha256": contents.sha256,
            "snapshot": _export(reader),
            "worker": number,
            "since": time.perf_counter() - started,
        },
    ).fetchone()
    if row is None:
        return None
    _require_free(connection, name)  # it may have been finished meanwhile
    share = SharedRun(connection, reader, int(row[0]), engine, number, contents)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE run_query INCLUDING COMMENTS)").format(partition_of_run(share.run_id))
    )
    _cut(share, parameters.n)
    return share


def _join(
    connection: Connection, reader: Connection, number: int, parameters: Parameters, name: str | None, look: Look
) -> SharedRun | None:
    """A share in the unfinished run, with the snapshot of those who work on it or one that sees the same; or None."""
    row = connection.execute(query("unfinished_run"), _bound(parameters) | {"name": name}).fetchone()
    if row is None:
        return None
    run_id, sha256, snapshots, failure, *others = row
    theirs = Parameters(*others)
    if parameters.differing(theirs):
        raise InputError(
            f"the unfinished run {name!r} has other parameters ({parameters.differing(theirs)}): repeat those, choose "
            f"another --name, or remove it with `medcbir runs drop {name}`"
        )
    living = next((each for each in reversed(snapshots) if _snapshot(reader, each)), None)
    if living is not None and name is None:  # somebody's own
        return None
    if living is None:
        _snapshot(reader)
    share = SharedRun(connection, reader, run_id, theirs.engine, number, look(reader))
    arguments = {"run_id": run_id, "snapshot": _export(reader), "worker": number}
    if living is not None:
        connection.execute(query("join_run"), arguments)
        share.remark = "joins the processes that answer this run"
        return share
    afresh = failure is not None or share.contents.sha256 != sha256
    connection.execute(
        query("take_over_run"),
        arguments
        | {
            "contents_sha256": share.contents.sha256,
            "query_count": len(share.contents.queries),
            "index_count": len(share.contents.index),
            "afresh": afresh,
        },
    )
    share.remark = "goes on with the interrupted run"
    if afresh:
        connection.execute(sql.SQL("TRUNCATE {}").format(partition_of_run(run_id)))
        _cut(share, parameters.n)
        why = "failed" if failure is not None else "was interrupted, and images or vectors have changed since"
        share.remark = f"starts over: the run {why}"
    return share


def _bound(parameters: Parameters) -> dict[str, Any]:
    filters = {"query_filter": Jsonb(parameters.query_filter), "index_filter": Jsonb(parameters.index_filter)}
    return asdict(parameters) | filters


def _require_free(connection: Connection, name: str | None) -> None:
    if name is not None and connection.execute("SELECT FROM run WHERE name = %s", (name,)).fetchone() is not None:
        raise InputError(f"a run named {name!r} exists: choose another --name")


def _cut(share: SharedRun, n: int) -> None:
    """Cut the queries into blocks, none of them answered."""
    blocks = blocks_of(share.engine, len(share.contents.queries), n)
    share.connection.execute("DELETE FROM run_block WHERE run_id = %s", (share.run_id,))
    with share.connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO run_block (run_id, block, first_query, last_query) VALUES (%s, %s, %s, %s)",
            [(share.run_id, number, block.start, block.stop) for number, block in enumerate(blocks)],
        )


def unfinished_runs(connection: Connection) -> list[UnfinishedRun]:
    """Runs that are being computed, were interrupted, or failed, the newest first."""
    rows = connection.execute(query("unfinished_runs"), {"lock_class": LOCK_CLASS}).fetchall()
    return [UnfinishedRun(*row) for row in rows]
