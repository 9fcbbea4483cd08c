"""Who takes part in a run: its queries and its index, with what decides who may not retrieve whom."""

from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from medcbir.errors import InputError, RunError
from medcbir.store.binary_copy import copy_columns
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition
from medcbir.types import Coverage, Filter

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images that take part in a run, sorted by id: ids, patients, classes, pictures, studies, each (n,).

    Patient, class or study 0 stands for none. A query never retrieves an image of its own picture: itself, and its
    exact duplicates where those are excluded.
    """

    image_ids: Ids
    patient_ids: Ids
    label_ids: Ids
    picture_ids: Ids
    study_ids: Ids

    def __len__(self) -> int:
        return len(self.image_ids)

    def where(self, chosen: Ids | npt.NDArray[np.bool_]) -> "ImageSet":
        """Those that positions (k,) or a mask (n,) choose."""
        return ImageSet(
            self.image_ids[chosen],
            self.patient_ids[chosen],
            self.label_ids[chosen],
            self.picture_ids[chosen],
            self.study_ids[chosen],
        )


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Whom a query may not retrieve besides itself: images of its patient, of its study, of the same pixels."""

    same_patient: bool = True
    same_study: bool = False
    duplicates: bool = False


def check_filter(connection: Connection, where: Filter) -> None:
    """Raise `InputError` for a named filter that the database lacks."""
    if where.named is not None:
        names = [row[0] for row in connection.execute("SELECT name FROM named_filter ORDER BY name").fetchall()]
        if where.named not in names:
            have = f"there are {', '.join(names)}" if names else "none is defined"
            raise InputError(
                f"no filter {where.named!r} in this database ({have}): an administrator adds one with "
                "`medcbir filters add NAME PREDICATE`"
            )


def coverage(connection: Connection, encoder: StoredEncoder, where: Filter) -> Coverage:
    """How many images pass `where`, and how many of those have a vector of the encoder."""
    check_filter(connection, where)
    statement = sql.SQL(query("filter_coverage")).format(partition=partition(encoder.name))
    row = connection.execute(statement, asdict(where)).fetchone()
    assert row is not None  # noqa: S101
    return Coverage(*row)


def take_part(
    connection: Connection, encoder: StoredEncoder, role: str, where: Filter, exclusions: Exclusions
) -> tuple[ImageSet, int]:
    """The images that have a vector and pass `where`, and how many pass it but have none.

    They stay in table run_queries or run_index, by their `role`, for as long as the connection's transaction lasts.
    Raises `RunError` where there is none.
    """
    table = sql.Identifier(f"run_{role}")
    statement = sql.SQL(query("create_run_sets")).format(table=table, partition=partition(encoder.name))
    client = psycopg.ClientCursor(connection)  # a utility statement takes no server-side parameters
    client.execute(
        statement,
        asdict(where) | {"exclude_duplicates": exclusions.duplicates, "exclude_same_study": exclusions.same_study},
    )
    missing = client.execute(sql.SQL("DELETE FROM {} WHERE NOT encoded").format(table)).rowcount
    client.execute(sql.SQL("ANALYZE {}").format(table))
    members = sql.SQL(
        "SELECT image_id, coalesce(patient_id, 0), coalesce(label_id, 0)::bigint, picture_id, coalesce(study_id, 0) "
        "FROM {} ORDER BY image_id"
    ).format(table)
    names = ("image_ids", "patient_ids", "label_ids", "picture_ids", "study_ids")
    found = ImageSet(**copy_columns(connection, members, {}, dict.fromkeys(names, "bigint")))
    if len(found) == 0:
        wanted = ", ".join(f"{name} {value}" for name, value in where.given.items()) or "any"
        raise RunError(
            f"no image for the {role} ({wanted}) has a vector of encoder {encoder.name}: give images a split on ingest "
            f"(`--split test`), run `medcbir encode --encoder {encoder.name}`, or choose with --queries and --index"
        )
    return found, missing


def count_relevant(queries: ImageSet, index: ImageSet, exclusions: Exclusions) -> Ids:
    """Index images of each query's class that it may retrieve (q,): not its picture, nor whom `exclusions` name.

    The excluded are counted by inclusion and exclusion: those of its picture, patient, study; less those of two; ...
    """
    columns = ["picture_ids"]
    if exclusions.same_patient:
        columns.append("patient_ids")
    if exclusions.same_study:
        columns.append("study_ids")
    counts = _count_equal(queries, index, ("label_ids",))
    for size in range(1, len(columns) + 1):
        for chosen in combinations(columns, size):
            known = np.logical_and.reduce([getattr(queries, column) > 0 for column in chosen])
            shared = np.where(known, _count_equal(queries, index, ("label_ids", *chosen)), 0)
            counts = counts - shared if size % 2 else counts + shared
    return np.where(queries.label_ids > 0, counts, 0).astype(np.int64)


def _count_equal(queries: ImageSet, index: ImageSet, columns: tuple[str, ...]) -> Ids:
    """How many index images are equal to each query in all of these columns (q,)."""
    keys = np.zeros(len(index) + len(queries), np.int64)
    for column in columns:
        values = np.concatenate([getattr(index, column), getattr(queries, column)])
        distinct, dense = np.unique(values, return_inverse=True)
        keys = np.unique(keys * len(distinct) + dense, return_inverse=True)[1]
    counts = np.bincount(keys[: len(index)], minlength=int(keys.max(initial=-1)) + 1)
    return counts[keys[len(index) :]]
