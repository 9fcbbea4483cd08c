"""One query: the nearest images with their metadata, by the SQL functions `top_n` and `similar_to`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psycopg

from medcbir.errors import InputError, VectorError
from medcbir.retrieval.image_sets import check_filter
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.types import Filter, Hit, Vectors

if TYPE_CHECKING:
    from medcbir.retrieval.warmth import Warmth

_LARGEST_INTEGER, _LARGEST_BIGINT = 2**31 - 1, 2**63 - 1  # PostgreSQL's


def check_n(n: int) -> None:
    """Raise `InputError` for a number of hits that no query can have."""
    if n < 1:
        raise InputError(f"n must be 1 or more, not {n}")
    if n > _LARGEST_INTEGER:
        raise InputError(f"n must be {_LARGEST_INTEGER} or less, not {n}")


def check_vector(encoder: StoredEncoder, vector: npt.NDArray[np.float32]) -> None:
    """Raise `VectorError` for a query (dim,) of another dimension than the encoder's, or of no direction."""
    if vector.shape != (encoder.dim,):
        raise VectorError(f"encoder {encoder.name} has {encoder.dim} dimensions, the query has shape {vector.shape}")
    if not np.isfinite(vector).all() or not vector.any():
        raise VectorError("the query vector is zero or not finite, so nothing is near it")


def hit(row: Sequence[Any]) -> Hit:
    """A hit from the columns that the queries `hits_*` have in common."""
    rank, image_id, uri, frame, distance, dataset, patient, modality, region, findings, split = row
    return Hit(
        rank,
        image_id,
        uri,
        frame,
        distance,
        1.0 - distance,
        dataset,
        patient,
        modality,
        region,
        tuple(findings),
        split,
    )


def near_vector(
    connection: Connection,
    encoder: StoredEncoder,
    vector: npt.NDArray[np.float32],
    n: int,
    where: Filter,
    *,
    exclude_pixels: bytes | None = None,
    warmth: "Warmth | None" = None,
) -> list[Hit]:
    """The `n` images nearest to `vector` (dim,), exactly, none of them of the digest `exclude_pixels`.

    From memory where `warmth` has the encoder there. Raises `VectorError` for a wrong dimension or no direction.
    """
    check_n(n)
    check_vector(encoder, vector)
    check_filter(connection, where)
    hits = None
    if warmth:
        hits = warmth.near_vector(connection, encoder, vector, n, where, exclude_pixels=exclude_pixels)
    if hits is None:
        arguments = {"vector": vector, "exclude_pixels": exclude_pixels}
        hits = _hits(connection, "hits_near_vector", arguments, encoder, n, where, warmth)
    return hits


def combine(vectors: Vectors, weights: Sequence[float] | None = None) -> Vectors:
    """One unit vector (dim,) of several unit vectors (k, dim): q = sum(w_i v_i) / |sum(w_i v_i)|, w_i = 1 by default.

    Since all v_i are of unit length, q ranks images by the weighted mean of their similarities to the parts; a negative
    weight leads away from its part. A single part without a weight stays as it is, to the last bit. Raises `InputError`
    for weights that do not fit, `VectorError` where nothing is left of the sum.
    """
    if weights is None and len(vectors) == 1:
        alone: Vectors = vectors[0]
        return alone
    if weights is None:
        weights = [1.0] * len(vectors)
    if len(weights) != len(vectors):
        raise InputError(f"there are {len(vectors)} parts of the query and {len(weights)} weights: give each part one")
    if not np.isfinite(weights).all():
        raise InputError("the weights of a query must be finite numbers")
    parts = vectors.astype(np.float64)
    total = np.asarray(weights, np.float64) @ (parts / np.linalg.norm(parts, axis=1, keepdims=True))
    norm = np.linalg.norm(total)
    if norm <= 1e-6 * np.abs(weights).sum():
        raise VectorError("the parts of the query cancel each other, so nothing is near it: choose other weights")
    whole: Vectors = (total / norm).astype(np.float32)
    return whole


def near_image(
    connection: Connection,
    encoder: StoredEncoder,
    image_id: int,
    n: int,
    where: Filter,
    *,
    exclude_same_patient: bool = False,
    exclude_same_study: bool = False,
    exclude_duplicates: bool = False,
    warmth: "Warmth | None" = None,
) -> list[Hit]:
    """The `n` images nearest to a stored one, which is never among them. `InputError` if it has no vector.

    From memory where `warmth` has the encoder there.
    """
    check_n(n)
    check_filter(connection, where)
    possible = min(max(image_id, 0), _LARGEST_BIGINT)  # ids begin at 1, and none is ever that large
    arguments = {
        "exclude_same_patient": exclude_same_patient,
        "exclude_same_study": exclude_same_study,
        "exclude_duplicates": exclude_duplicates,
    }
    if warmth:
        hits = warmth.near_image(connection, encoder, possible, n, where, **arguments)
        if hits is not None:
            return hits
    try:
        return _hits(connection, "hits_near_image", arguments | {"image_id": possible}, encoder, n, where, warmth)
    except psycopg.errors.NoDataFound:
        raise InputError(
            f"image {image_id} has no vector of encoder {encoder.name}: look ids up in medcbir.image, "
            f"or run `medcbir encode --encoder {encoder.name}`"
        ) from None


def _hits(
    connection: Connection,
    name: str,
    arguments: dict[str, Any],
    encoder: StoredEncoder,
    n: int,
    where: Filter,
    warmth: "Warmth | None",
) -> list[Hit]:
    started = time.perf_counter()
    rows = connection.execute(query(name), arguments | asdict(where) | {"encoder": encoder.name, "n": n}).fetchall()
    if warmth:
        warmth.searched_by_sql(encoder, time.perf_counter() - started)
    return [hit(row) for row in rows]
