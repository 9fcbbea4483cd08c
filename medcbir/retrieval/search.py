"""One query: the nearest images with their metadata, by the SQL functions `top_n` and `similar_to`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from medcbir.errors import InputError, VectorError
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.types import Filter, Hit, Vectors

_LARGEST_INTEGER, _LARGEST_BIGINT = 2**31 - 1, 2**63 - 1  # PostgreSQL's


def check_n(n: int) -> None:
    """Raise `InputError` for a number of hits that no query can have."""
    if n < 1:
        raise InputError(f"n must be 1 or more, not {n}")
    if n > _LARGEST_INTEGER:
        raise InputError(f"n must be {_LARGEST_INTEGER} or less, not {n}")


def near_vector(
    connection: Connection, encoder: StoredEncoder, vector: npt.NDArray[np.float32], n: int, where: Filter
) -> list[Hit]:
    """The `n` images nearest to `vector` (dim,), exactly; `VectorError` for a wrong dimension or no direction."""
    if vector.shape != (encoder.dim,):
        raise VectorError(f"encoder {encoder.name} has {encoder.dim} dimensions, the query has shape {vector.shape}")
    if not np.isfinite(vector).all() or not vector.any():
        raise VectorError("the query vector is zero or not finite, so nothing is near it")
    return _hits(connection, "hits_near_vector", {"vector": vector}, encoder, n, where)


def combine(vectors: Vectors, weights: Sequence[float] | None = None) -> Vectors:
    """One unit vector (dim,) of several unit vectors (k, dim): q = sum(w_i v_i) / |sum(w_i v_i)|, w_i = 1 by default.

    Since all v_i are of unit length, q ranks images by the weighted mean of their similarities to the parts; a negative
    weight leads away from its part. Raises `InputError` for weights that do not fit, `VectorError` where nothing is
    left of the sum.
    """
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
) -> list[Hit]:
    """The `n` images nearest to a stored one, which is never among them. `InputError` if it has no vector."""
    possible = min(max(image_id, 0), _LARGEST_BIGINT)  # ids begin at 1, and none is ever that large
    arguments = {"image_id": possible, "exclude_same_patient": exclude_same_patient}
    try:
        return _hits(connection, "hits_near_image", arguments, encoder, n, where)
    except psycopg.errors.NoDataFound:
        raise InputError(
            f"image {image_id} has no vector of encoder {encoder.name}: look ids up in medcbir.image, "
            f"or run `medcbir encode --encoder {encoder.name}`"
        ) from None


def _hits(
    connection: Connection, name: str, arguments: dict[str, Any], encoder: StoredEncoder, n: int, where: Filter
) -> list[Hit]:
    check_n(n)
    rows = connection.execute(query(name), arguments | asdict(where) | {"encoder": encoder.name, "n": n}).fetchall()
    return [
        Hit(
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
        for rank, image_id, uri, frame, distance, dataset, patient, modality, region, findings, split in rows
    ]
