"""P@N against the number of index images per class (Denner et al. 2024, section 3 and figure 3 B).

Classes with many index images take part, each with equally many queries. A draw puts the index images of each class in
a random order; the index of k images per class is the first k of each, so that indexes of one draw lie in each other,
and one pass answers for all of them. Queries are drawn once, indexes once per seed.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from psycopg import sql
from psycopg.types.json import Jsonb

from medcbir.errors import InputError, RunError
from medcbir.evaluation.bootstrap import student_t
from medcbir.evaluation.numbering import Ids, by_appearance
from medcbir.retrieval.cache import cached_vectors
from medcbir.retrieval.image_sets import ImageSet
from medcbir.retrieval.nested import nested_top_n
from medcbir.store.binary_copy import copy_columns
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition
from medcbir.types import Filter, Progress, Silent


@dataclass(frozen=True, slots=True)
class AblationPoint:
    """P@N with so many index images per class: mean, sample standard deviation and 95 % t-interval over draws."""

    images_per_class: int
    n: int
    seeds: int
    value: float
    std: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class Ablation:
    """One ablation as it is stored; `queries` is the number of all, `queries_per_class` for each of `classes`."""

    ablation_id: int
    encoder: str
    classes: int
    queries_per_class: int
    queries: int
    larger_than: int
    seconds: float
    points: tuple[AblationPoint, ...]


def index_size(
    connection: Connection,
    encoder: StoredEncoder,
    *,
    sizes: Sequence[int],
    larger_than: int | None,
    queries_per_class: int | None,
    n: Sequence[int],
    seeds: int,
    seed: int,
    queries: Filter,
    index: Filter,
    exclude_same_patient: bool,
    cache_dir: Path,
    name: str | None = None,
    progress: Progress | None = None,
) -> Ablation:
    """Run the ablation and store it; see `medcbir ablate index-size --help` for the arguments.

    Raises `InputError` for sizes that the classes lack or a taken name, `RunError` where no class is large enough or
    has a query.
    """
    sizes, n = sorted(set(sizes)), sorted(set(n))
    if not sizes or not n or min(sizes[0], n[0], seeds) < 1 or (queries_per_class or 1) < 1:
        raise InputError("sizes, N, the number of seeds and queries per class must be 1 or more")
    if seed < 0:
        raise InputError(f"a seed must be 0 or more, not {seed}")
    if connection.execute("SELECT FROM ablation WHERE name = %s", (name,)).fetchone() is not None:
        raise InputError(f"an ablation named {name!r} exists: choose another name")
    larger_than = sizes[-1] if larger_than is None else larger_than
    started = time.perf_counter()
    progress = progress or Silent()
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        among = _images(connection, encoder, index)
        asking = _images(connection, encoder, queries)
        classes, per_class = _classes(connection, among, asking, larger_than, queries_per_class, sizes[-1])
        asked = asking.where(_drawn_first(asking, classes, [seed, 0]) < per_class)
        among = among.where(np.isin(among.label_ids, classes))
        cached = cached_vectors(connection, encoder, cache_dir)
        row = connection.execute(
            "INSERT INTO ablation (encoder_id, query_filter, index_filter, exclude_same_patient, larger_than, "
            "queries_per_class, first_seed, name, seconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0) "
            "RETURNING ablation_id",
            (
                encoder.encoder_id,
                Jsonb(queries.given),
                Jsonb(index.given),
                exclude_same_patient,
                larger_than,
                per_class,
                seed,
                name,
            ),
        ).fetchone()
        assert row is not None  # noqa: S101
        progress.begin(f"ablate {encoder.name}", "draws", seeds)
        for each in range(seed, seed + seeds):
            levels = np.searchsorted(sizes, _drawn_first(among, classes, [each, 1]), side="right")
            inside = levels < len(sizes)
            drawn = among.where(inside)
            found = nested_top_n(
                connection,
                encoder,
                cached,
                asked,
                drawn,
                levels[inside],
                n[-1],
                exclude_same_patient=exclude_same_patient,
            )
            for size, hits in zip(sizes, found, strict=True):
                relevant = (drawn.label_ids[hits] == asked.label_ids[:, None]) & (hits >= 0)
                _store(connection, row[0], each, size, n, classes, asked.label_ids, np.cumsum(relevant, axis=1))
            progress.advance(1)
        seconds = time.perf_counter() - started
        connection.execute("UPDATE ablation SET seconds = %s WHERE ablation_id = %s", (seconds, row[0]))
        points = _points(connection, row[0])
    return Ablation(row[0], encoder.name, len(classes), per_class, len(asked), larger_than, seconds, points)


def _images(connection: Connection, encoder: StoredEncoder, where: Filter) -> ImageSet:
    select = sql.SQL(query("ablation_images")).format(partition=partition(encoder.name))
    return ImageSet(
        **{
            f"{name}s": values
            for name, values in copy_columns(
                connection,
                select,
                asdict(where),
                dict.fromkeys(("image_id", "patient_id", "label_id", "picture_id", "study_id"), "bigint"),
            ).items()
        }
    )


def _classes(
    connection: Connection,
    index: ImageSet,
    queries: ImageSet,
    larger_than: int,
    queries_per_class: int | None,
    largest_size: int,
) -> tuple[Ids, int]:
    """Classes with more than `larger_than` index images and enough queries, and the queries that each has."""
    labels, counts = np.unique(index.label_ids, return_counts=True)
    if not len(labels):
        raise RunError("no index image has a vector of the encoder and exactly one label: choose another --index")
    large = labels[counts > larger_than]
    asked = np.array([(queries.label_ids == label).sum() for label in large], dtype=np.int64)
    enough = asked >= (queries_per_class or 1)
    if not len(large):
        (name,) = connection.execute(
            "SELECT name FROM label WHERE label_id = %s", (int(labels[counts.argmax()]),)
        ).fetchone() or ("?",)
        raise RunError(
            f"no class has more than {larger_than} index images; the largest, {name}, has {counts.max()}: choose "
            "smaller --sizes, or --larger-than"
        )
    if not enough.any():
        raise RunError(
            f"none of the {len(large)} classes with more than {larger_than} index images has "
            f"{queries_per_class or 1} queries; the most that one has is {asked.max()}: choose --queries-per-class"
        )
    smallest = int(counts[np.isin(labels, large[enough])].min())
    if smallest < largest_size:
        raise InputError(
            f"the smallest class with more than {larger_than} index images has {smallest}, so none can have "
            f"{largest_size}: choose smaller --sizes or a larger --larger-than"
        )
    return large[enough], queries_per_class or int(asked[enough].min())


def _drawn_first(images: ImageSet, classes: Ids, seed: Sequence[int]) -> Ids:
    """The place (x,) of each image in a random order of its class's images; images of no class of these come last."""
    rng = np.random.default_rng(seed)
    places = np.full(len(images), np.iinfo(np.int64).max)
    for label in by_appearance(images.label_ids[np.isin(images.label_ids, classes)])[0]:
        members = np.flatnonzero(images.label_ids == label)
        places[members] = rng.permutation(len(members))
    return places


def _store(
    connection: Connection,
    ablation_id: int,
    seed: int,
    size: int,
    n: Sequence[int],
    classes: Ids,
    of_queries: Ids,
    matches: Ids,
) -> None:
    """Rows of one index: `matches` (q, N) are relevant images up to each rank."""
    place = np.searchsorted(classes, of_queries)
    queries = np.bincount(place)
    columns = "COPY ablation_class (ablation_id, seed, images_per_class, n, label_id, queries, matches) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(columns) as copy:
        for each in n:
            found = np.bincount(place, matches[:, each - 1]).astype(np.int64)
            for label, asked, matched in zip(classes.tolist(), queries.tolist(), found.tolist(), strict=True):
                copy.write_row((ablation_id, seed, size, each, label, asked, matched))


def _points(connection: Connection, ablation_id: int) -> tuple[AblationPoint, ...]:
    rows = connection.execute(
        "SELECT images_per_class, n, seeds, precision, precision_std FROM ablation_precision WHERE ablation_id = %s "
        "ORDER BY n, images_per_class",
        (ablation_id,),
    ).fetchall()
    return tuple(
        AblationPoint(size, n, seeds, value, std, *_interval(value, std, seeds)) for size, n, seeds, value, std in rows
    )


def _interval(mean: float, std: float | None, seeds: int) -> tuple[float | None, float | None]:
    """95 % t-interval of the mean over draws, within [0, 1]."""
    if std is None:
        return None, None
    half = student_t(float(seeds - 1)) * std / np.sqrt(seeds)
    return max(0.0, float(mean - half)), min(1.0, float(mean + half))
