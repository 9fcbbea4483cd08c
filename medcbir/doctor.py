"""Whether everything works, from the server to a picture that finds itself; nothing is changed.

Each check says what it found and, where something is wrong, the next step.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql

from medcbir.encoders import DEFAULT, find_checkpoint, find_spec
from medcbir.errors import MedcbirError
from medcbir.store.connection import Connection, open_database
from medcbir.store.embedded import EmbeddedServer
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition

if TYPE_CHECKING:
    from medcbir.api import Database

_LEAST_FREE = 1 * 2**30
_LITTLE_FREE = 10 * 2**30
"""Bytes of disk below which nothing can be done for long, and below which it is told."""

_ITSELF = 1e-3
"""Cosine distance within which a picture that is encoded again lies from its own vector; devices differ by 1e-5."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing; `next_step` is empty where all is well."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    next_step: str = ""


def examine(db: "Database") -> Iterator[Check]:
    """Every check in turn; those that need a database end where there is none that can be used."""
    yield _disk(db)
    try:
        yield from _server(db)
        with open_database(db.conninfo, install="never") as connection:
            encoders = connection.execute(
                "SELECT encoder_id, name, dim, imported FROM encoder WHERE retired_at IS NULL ORDER BY name"
            ).fetchall()
            yield from _coverage(connection)
            if not encoders:
                yield _weights(db, DEFAULT)
            yield _image_vectors(connection)
            for encoder_id, name, dim, imported in encoders:
                if not imported:
                    yield _weights(db, name)
                yield _plan(connection, name, dim)
                yield _query(connection, encoder_id, name)
                if not imported:
                    yield _picture(db, connection, encoder_id, name)
    except MedcbirError as error:
        message, _, step = str(error).partition(": run ")
        yield Check("database", "failed", message, f"run {step}" if step else "see the message")


def _disk(db: "Database") -> Check:
    folder = db.settings.data_dir
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free, total = shutil.disk_usage(place).free, shutil.disk_usage(place).total
    found = f"{folder}: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if free < _LEAST_FREE:
        return Check("disk", "failed", found, "free some, or move the data with --data-dir or MEDCBIR_DATA_DIR")
    if free < _LITTLE_FREE:
        return Check("disk", "warning", found, "free some in time: a million vectors of 512 numbers take 3 GiB")
    return Check("disk", "ok", found)


def _server(db: "Database") -> Iterator[Check]:
    if db.settings.conninfo is None:
        EmbeddedServer(db.settings.data_dir).start()
    status = db.status()
    found = f"{status['database']}: PostgreSQL {status['postgresql']}, pgvector {status['pgvector'] or 'missing'}"
    lacking = status["pgvector"] is None
    yield Check("server", "failed" if lacking else "ok", found, "run `medcbir db upgrade`" if lacking else "")
    revision, wanted = status["revision"], status["revision_wanted"]
    found = f"revision {revision or 'none'}, this medcbir works with {wanted}"
    if revision != wanted:
        step = "upgrade the program" if revision is not None and revision > wanted else "run `medcbir db upgrade`"
        yield Check("schema", "failed", found, step)
    else:
        held = f"{status['images']} images, {status['encoders']} encoders, {status['runs']} runs"
        yield Check("schema", "ok", f"{found}; {held}")


def _coverage(connection: Connection) -> Iterator[Check]:
    rows = connection.execute(query("coverage"), {"encoder": None}).fetchall()
    if not rows:
        yield Check("coverage", "warning", "no image has a vector yet", "run `medcbir ingest PATH`, or `medcbir demo`")
    for encoder, dataset, images, done, missing, stale, failed, no_file in rows:
        counts = {"missing": missing, "stale": stale, "failed": failed, "without a file": no_file}
        lacks = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        found = f"{dataset}: {done} of {images} images done" + (f", {lacks}" if lacks else "")
        steps = []
        if missing or stale:
            steps.append(f"run `medcbir encode --encoder {encoder}`")
        if failed:
            steps.append(f"see `medcbir encoders coverage {encoder} --failed` for the reasons")
        yield Check(f"coverage of {encoder}", "warning" if steps else "ok", found, "; ".join(steps))


def _weights(db: "Database", name: str) -> Check:
    title = f"weights of {name}"
    spec = find_spec(name, db.settings.encoders_dir) or find_spec(name[:-9], db.settings.encoders_dir)
    if spec is None:
        return Check(title, "warning", "this medcbir does not know it", "pictures cannot be encoded: search by --id")
    try:
        path = find_checkpoint(spec, db.settings.weights_dir)
    except MedcbirError as error:
        message, _, step = str(error).partition("; ")
        return Check(title, "warning", message, step or "pictures cannot be encoded; search by --id")
    return Check(title, "ok", str(path))


def _plan_of(connection: Connection, statement: sql.Composable, settings: list[str] | None = None) -> str:
    with connection.transaction():
        for setting in settings or []:
            name, _, value = setting.partition("=")
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        rows = connection.execute(sql.SQL("EXPLAIN (COSTS OFF) ") + statement).fetchall()
    return "\n".join(row[0] for row in rows)


def _image_vectors(connection: Connection) -> Check:
    plan = _plan_of(connection, sql.SQL("SELECT image_id, uri, modality FROM image_vectors"))
    if "embedding_" in plan:
        return Check(
            "plan of image_vectors",
            "failed",
            "columns that are not asked for are read",
            "a partition has lost its unique index, or join_collapse_limit is 1: restore it",
        )
    return Check("plan of image_vectors", "ok", "vectors that are not asked for are not read")


def _plan(connection: Connection, name: str, dim: int) -> Check:
    """The plan of the statement that top_n runs, under the settings that it makes for itself."""
    row = connection.execute("SELECT proconfig FROM pg_catalog.pg_proc WHERE oid = 'top_n'::regproc").fetchone()
    settings = [each for each in (row[0] if row else []) if not each.startswith("search_path")]
    vector = sql.Literal("[" + ",".join(["1"] + ["0"] * (dim - 1)) + "]")
    statement = sql.SQL(
        "SELECT e.image_id, e.v <=> {}::vector AS distance FROM {} AS e ORDER BY distance, e.image_id LIMIT 10"
    ).format(vector, partition(name))
    plan = _plan_of(connection, statement, settings)
    title = f"plan of a query of {name}"
    if "Index" in plan:
        return Check(title, "failed", "an index answers it, which may be approximate", "run `medcbir db upgrade`")
    parallel = "in parallel" if "Parallel Seq Scan" in plan else "in one process"
    return Check(title, "ok", f"reads all vectors, {parallel}; no index takes part")


def _query(connection: Connection, encoder_id: int, name: str) -> Check:
    title = f"query of {name}"
    row = connection.execute(
        "SELECT image_id, v FROM embedding WHERE encoder_id = %s LIMIT 1", (encoder_id,)
    ).fetchone()
    if row is None:
        return Check(title, "warning", "it has no vector", f"run `medcbir encode --encoder {name}`")
    started = time.perf_counter()
    hits = connection.execute("SELECT image_id, distance FROM top_n(%s, %s, 10)", (row[1], name)).fetchall()
    milliseconds = 1000 * (time.perf_counter() - started)
    if not hits or hits[0][1] > _ITSELF:
        step = f"the vectors are damaged: `medcbir encoders retire {name}`, then encode again"
        return Check(title, "failed", f"image {row[0]} does not find itself", step)
    return Check(title, "ok", f"{len(hits)} nearest images in {milliseconds:.0f} ms")


def _picture(db: "Database", connection: Connection, encoder_id: int, name: str) -> Check:
    """Encode the file of a stored image again, and look whether it finds itself."""
    title = f"picture to hits by {name}"
    rows: list[tuple[Any, ...]] = connection.execute(query("newest_encoded"), {"encoder_id": encoder_id}).fetchall()
    if not rows:
        return Check(title, "ok", "not tried: no image has both a file and a vector")
    ((image_id, path, frame),) = rows
    started = time.perf_counter()
    try:
        hits = db.search(image=db.read_image(path, frame), encoder=name, n=1)
    except MedcbirError as error:
        return Check(title, "warning", str(error), "search by --id meanwhile")
    seconds = time.perf_counter() - started
    if not hits or hits[0].distance > _ITSELF:
        step = f"see `medcbir encoders verify {name}`; if the file of image {image_id} has changed, ingest it again"
        return Check(title, "failed", f"image {image_id} does not find itself when it is encoded again", step)
    return Check(title, "ok", f"image {image_id} finds itself, in {seconds:.1f} s with loading the model")
