"""All vectors of an encoder in memory: a query is scored against them at once, pgvector measures the few that are left.

Exactly what the SQL function `top_n` answers: what is proposed holds the nearest images under the bound of
docs/decisions/0005-blocked-engine.md, and filters are PostgreSQL's own, under the search's snapshot. A query that has
no such answer (thousands of ties, too few proposed images pass the filter) is left to `top_n`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from psycopg import sql

from medcbir.retrieval.bound import ACCUMULATION, FLOAT32, Spread, score_bound
from medcbir.retrieval.cache import cached_vectors, vectors_version
from medcbir.retrieval.hardware import Hardware, least_seconds, sums_as_assumed
from medcbir.retrieval.image_sets import Ids
from medcbir.retrieval.search import hit
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import copy_out, image_ids_of, partition
from medcbir.types import Hit, Vectors

_PROPOSED = 16_384  # images beyond which the SQL function is the better way
_ROWS = 65_536  # vectors at a time when something is measured on all
_TRIALS = 15  # of the product whose type is chosen
_ADDED = 0.1  # share of vectors added since the load from which another load pays


@dataclass(frozen=True, slots=True)
class Part:
    """Some of an index's images: ids (n,), vectors (n, dim), and the same as they are scored."""

    image_ids: Ids
    vectors: Vectors
    lowered: torch.Tensor

    def scores(self, lowered: torch.Tensor) -> npt.NDArray[np.float32]:
        """Products (n,) with a vector (dim,) of the type that is scored."""
        scores = self.lowered @ lowered
        if scores.dtype == torch.bfloat16:  # by numpy: another parallel loop would cost more than it saves
            return (scores.view(torch.int16).numpy().astype(np.int32) << 16).view(np.float32)
        return scores.numpy().astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class WarmIndex:
    """All vectors of an encoder at one version of its table, and what the bound needs to know of them."""

    encoder: StoredEncoder
    hardware: Hardware
    version: str
    removals: str
    parts: tuple[Part, ...]
    spread: Spread

    def __len__(self) -> int:
        return sum(len(part.image_ids) for part in self.parts)

    def nearest(self, vector: npt.NDArray[np.float32], m: int) -> Ids | None:
        """Ids of images that hold the `m` nearest to `vector` (dim,), ties included; None where they would be many."""
        wanted = torch.from_numpy(vector)[None]
        lowered = self.hardware.lowered(wanted)
        spread = self.hardware.spread(wanted, lowered)
        bound = score_bound(
            len(vector),
            spread,
            self.spread,
            step=ACCUMULATION,
            rounding=self.hardware.rounding,
            smallest=self.hardware.smallest,
        )
        scores = np.concatenate([part.scores(lowered[0]) for part in self.parts])
        floor = torch.from_numpy(bound.floor(_nth_best(scores, m))).to(self.hardware.dtype)
        kept = np.flatnonzero(scores >= float(floor))
        if len(kept) > _PROPOSED:
            return None
        cuts = np.cumsum([len(part.image_ids) for part in self.parts])
        chosen = np.split(kept, np.searchsorted(kept, cuts[:-1]))
        rows = [each - cut + len(part.image_ids) for each, cut, part in zip(chosen, cuts, self.parts, strict=True)]
        image_ids = np.concatenate([part.image_ids[each] for each, part in zip(rows, self.parts, strict=True)])
        vectors = np.concatenate([part.vectors[each] for each, part in zip(rows, self.parts, strict=True)])
        exact = (vectors * vector).sum(axis=1)
        bound = score_bound(
            len(vector),
            replace(spread, residual=0.0),
            replace(self.spread, residual=0.0),
            step=FLOAT32,
            rounding=0.0,
        )
        nearest: Ids = image_ids[exact >= bound.floor(_nth_best(exact, m))]
        return nearest

    def current(self, connection: Connection) -> "WarmIndex | None":
        """This index with the vectors added since that the connection's snapshot sees; None if some were removed."""
        now = vectors_version(connection, self.encoder)
        if now.version == self.version:
            return self
        if now.removals != self.removals:
            return None
        known = np.concatenate([part.image_ids for part in self.parts])
        added = np.setdiff1d(image_ids_of(connection, self.encoder.name), known)
        chunks = list(copy_out(connection, self.encoder.name, self.encoder.dim, only=added))
        if not chunks:  # a snapshot from before this index was loaded
            return self
        ids, vectors = (np.concatenate(column) for column in zip(*chunks, strict=True))
        part, spread = _part(ids, vectors, self.hardware)
        base, *others = self.parts
        for other in others:  # at most one, so that what was added is scored at once
            part = Part(
                np.concatenate([other.image_ids, part.image_ids]),
                np.concatenate([other.vectors, part.vectors]),
                torch.cat([other.lowered, part.lowered]),
            )
        return replace(self, version=now.version, parts=(base, part), spread=self.spread | spread)

    @property
    def outgrown(self) -> bool:
        """Whether so much was added since the load that another is worth its time."""
        return len(self) - len(self.parts[0].image_ids) > _ADDED * len(self)


def load(connection: Connection, encoder: StoredEncoder, folder: Path) -> WarmIndex:
    """The encoder's vectors from their copy in `folder`, which is made where there is none."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        now = vectors_version(connection, encoder)
        cached = cached_vectors(connection, encoder, folder)
    image_ids = np.empty(len(cached.image_ids), np.int64)
    image_ids[cached.order] = cached.image_ids
    hardware = fastest(torch.from_numpy(cached.vectors[:_ROWS]))
    part, spread = _part(image_ids, cached.vectors, hardware)
    return WarmIndex(encoder, hardware, now.version, now.removals, (part,), spread)


def _part(image_ids: Ids, vectors: Vectors, hardware: Hardware) -> tuple[Part, Spread]:
    exact = torch.from_numpy(vectors)
    lowered = exact if hardware.dtype == torch.float32 else torch.empty(exact.shape, dtype=hardware.dtype)
    spread = Spread()
    for first in range(0, len(exact), _ROWS):
        rows = slice(first, first + _ROWS)
        if lowered is not exact:
            lowered[rows] = exact[rows]
        spread |= hardware.spread(exact[rows], lowered[rows])
    return Part(image_ids, vectors, lowered), spread


def _nth_best(scores: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float64]:
    return torch.from_numpy(scores).topk(min(n, len(scores))).values[-1:].double().numpy()


def fastest(vectors: torch.Tensor) -> Hardware:
    """The type in which `vectors` (n, dim) float32 are multiplied with a vector in the least time here.

    Reading them is most of the work, so types of half the size are faster even on some processors that have no
    instructions for them but those that convert.
    """
    choices = [Hardware("cpu", torch.float32)]
    for dtype in (torch.bfloat16, torch.float16):
        low = Hardware("cpu", dtype)
        if sums_as_assumed(low, vectors.shape[1], columns=1):
            choices.append(low)
    vector = torch.ones(vectors.shape[1])
    operands = {hardware: (hardware.lowered(vectors), hardware.lowered(vector)) for hardware in choices}
    seconds = least_seconds(choices, lambda hardware: operands[hardware][0] @ operands[hardware][1], _TRIALS)
    return min(seconds, key=seconds.__getitem__)


def hits_of(
    connection: Connection,
    index: WarmIndex,
    vector: npt.NDArray[np.float32],
    n: int,
    restrictions: dict[str, object],
    proposed: int,
) -> list[Hit] | None:
    """The `n` nearest that pass, among `proposed` images and more, until none outside can be nearer; None for too many.

    `restrictions` are the arguments of the query `hits_among`; the index must hold all that the snapshot sees.
    """
    statement = sql.SQL(query("hits_among")).format(partition=partition(index.encoder.name))
    while proposed <= _PROPOSED:
        image_ids = index.nearest(vector, proposed)
        if image_ids is None:
            return None
        rows = connection.execute(
            statement, restrictions | {"vector": vector, "n": n, "image_ids": image_ids.tolist()}, prepare=True
        ).fetchall()
        if proposed >= len(index):
            return [hit(row[:11]) for row in rows]
        *_, place, found = rows[-1] if rows else (0, 0)
        if len(rows) == n and place <= proposed - (len(image_ids) - found):
            return [hit(row[:11]) for row in rows]
        proposed *= 8
    return None
