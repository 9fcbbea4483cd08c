"""Maps of embeddings: two coordinates for each image, stored for figures (Denner et al. 2024, figure 5)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.evaluation.layout import FEWEST, METHODS, Floats, Method, lay_out, principal_components
from medcbir.retrieval.cache import CachedVectors, cached_vectors
from medcbir.store.binary_copy import COPY_HEADER, COPY_TRAILER, copy_columns
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition
from medcbir.types import Filter, Progress, Silent

_BLOCK = 1 << 14  # vectors read at a time
_POINT = np.dtype(
    [
        ("fields", ">i2"),
        *(
            column
            for name, form in (("projection_id", ">i4"), ("image_id", ">i8"), ("x", ">f4"), ("y", ">f4"))
            for column in ((f"{name}_bytes", ">i4"), (name, form))
        ),
    ]
)
"""A row of projection_point in PostgreSQL's COPY BINARY."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A stored map of `images`; its points are in view projection_image.

    `filter` says which images, with the `limit` of a sample; `parameters` what the method was given and reached.
    """

    projection_id: int
    name: str
    encoder: str
    method: Method
    seed: int
    filter: Mapping[str, Any]
    parameters: Mapping[str, Any]
    images: int
    seconds: float


def project(
    connection: Connection,
    encoder: StoredEncoder,
    *,
    method: Method,
    where: Filter,
    limit: int | None,
    seed: int,
    perplexity: float | None,
    name: str | None,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Projection:
    """Lay the images of `where` out in two dimensions and store their coordinates.

    With `limit`, a sample of so many, drawn by `seed`. Images that are deleted meanwhile are left out. Raises
    `InputError` for an unknown method, unusable numbers or a taken name, `RunError` where too few images have a vector.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}: choose among {', '.join(METHODS)}")
    if limit is not None and limit < FEWEST:
        raise InputError(f"a map needs {FEWEST} images or more, not a limit of {limit}")
    if not 0 <= seed < 2**63:
        raise InputError(f"a seed must be 0 or more and below 2^63, not {seed}")
    if perplexity is not None and not 1 <= perplexity <= 1000:
        raise InputError(f"the perplexity must be between 1 and 1000, not {perplexity:g}")
    if name is not None and connection.execute("SELECT 1 FROM projection WHERE name = %s", (name,)).fetchone():
        raise InputError(f"a map named {name!r} exists: choose another --name")
    progress = progress or Silent()
    started = time.perf_counter()
    with connection.transaction():  # only for the copy: the layout takes minutes
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        image_ids = _images(connection, encoder, where)
        cached = cached_vectors(connection, encoder, cache_dir)
    if limit is not None and limit < len(image_ids):
        image_ids = np.sort(np.random.default_rng(seed).choice(image_ids, limit, replace=False))
    points, share = principal_components(lambda: _blocks(cached, image_ids))
    coordinates, parameters = lay_out(points, method, seed, perplexity, progress)
    parameters = {"components": points.shape[1], "explained_variance": round(share, 6), **parameters}
    chosen = where.given | ({} if limit is None else {"limit": limit})
    return _store(connection, encoder, method, seed, chosen, parameters, name, image_ids, coordinates, started)


def _images(connection: Connection, encoder: StoredEncoder, where: Filter) -> npt.NDArray[np.int64]:
    select = sql.SQL(query("projection_images")).format(partition=partition(encoder.name))
    image_ids = copy_columns(connection, select, asdict(where), {"image_id": "bigint"})["image_id"]
    if len(image_ids) < FEWEST:
        wanted = ", ".join(f"{name} {value}" for name, value in where.given.items()) or "any"
        raise RunError(
            f"{len(image_ids)} images ({wanted}) have a vector of encoder {encoder.name}, and a map needs {FEWEST}: "
            f"choose other images, or encode them (`medcbir encode --encoder {encoder.name}`)"
        )
    return image_ids


def _blocks(cached: CachedVectors, image_ids: npt.NDArray[np.int64]) -> Iterator[Floats]:
    """Vectors (b, dim) of the images, in their order."""
    for start in range(0, len(image_ids), _BLOCK):
        yield cached.vectors[cached.rows(image_ids[start : start + _BLOCK])]


def _store(
    connection: Connection,
    encoder: StoredEncoder,
    method: Method,
    seed: int,
    chosen: Mapping[str, Any],
    parameters: Mapping[str, Any],
    name: str | None,
    image_ids: npt.NDArray[np.int64],
    coordinates: Floats,
    started: float,
) -> Projection:
    """A row of projection and a partition of projection_point, which holds the images that still exist."""
    with connection.transaction():
        row = connection.execute(
            "INSERT INTO projection (name, encoder_id, method, seed, filter, parameters, image_count, seconds) "
            "VALUES (%s, %s, %s, %s, %s, %s, 0, 0) RETURNING projection_id",
            (name or f"\N{BULLET}{time.time_ns()}", encoder.encoder_id, method, seed, Jsonb(chosen), Jsonb(parameters)),
        ).fetchone()
        projection_id = int(row[0])  # type: ignore[index]
        name = name or f"{encoder.name}-{method}-{projection_id}"
        table = sql.Identifier("medcbir", f"projection_point_{projection_id}")
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE projection_point INCLUDING COMMENTS)").format(table))
        _copy_points(connection, table, projection_id, image_ids, coordinates)
        kept = connection.execute(
            sql.SQL("DELETE FROM {} AS p WHERE NOT EXISTS (SELECT FROM image WHERE image_id = p.image_id)").format(
                table
            )
        )
        images = len(image_ids) - kept.rowcount
        attach = sql.SQL("ALTER TABLE projection_point ATTACH PARTITION {} FOR VALUES IN ({})")
        connection.execute(attach.format(table, sql.Literal(projection_id)))
        seconds = time.perf_counter() - started
        try:
            connection.execute(
                "UPDATE projection SET name = %s, image_count = %s, seconds = %s WHERE projection_id = %s",
                (name, images, seconds, projection_id),
            )
        except psycopg.errors.UniqueViolation:
            raise InputError(f"a map named {name!r} exists: choose another --name") from None
    connection.execute(sql.SQL("ANALYZE {}").format(table))
    return Projection(projection_id, name, encoder.name, method, seed, chosen, parameters, images, seconds)


def _copy_points(
    connection: Connection,
    table: sql.Identifier,
    projection_id: int,
    image_ids: npt.NDArray[np.int64],
    coordinates: Floats,
) -> None:
    rows = np.zeros(len(image_ids), dtype=_POINT)
    rows["fields"] = 4
    rows["projection_id_bytes"] = rows["x_bytes"] = rows["y_bytes"] = 4
    rows["image_id_bytes"] = 8
    rows["projection_id"], rows["image_id"] = projection_id, image_ids
    rows["x"], rows["y"] = coordinates.T
    statement = sql.SQL("COPY {} (projection_id, image_id, x, y) FROM STDIN (FORMAT binary)").format(table)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER)
        copy.write(rows.tobytes())
        copy.write(COPY_TRAILER)
