"""How fast exact retrieval is beside other ways of getting neighbours, on the same vectors in one run.

Runs of many queries, by the size of the index and by dimension; single queries; layouts of a table; the paper's size.
FAISS gets its search alone, all queries of a run in one call, and stores nothing.
"""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from medcbir.api import Database
from medcbir.bench.clusters import Clusters
from medcbir.bench.scratch import ENCODER, fill, scratch
from medcbir.bench.side_by_side import Way, by_command, measure
from medcbir.bench.study import Measurement, Study
from medcbir.errors import InputError
from medcbir.store.connection import open_database
from medcbir.store.sqlfiles import query
from medcbir.types import Filter, Progress, Silent, Vectors

N = 10
FAISS = "FAISS IndexFlatIP"
_STATEMENTS = 5  # queries of a run that are answered one by one
_RETRIEVE = ("retrieve", "--encoder", ENCODER, "-n", str(N), "--engine", "blocked", "--no-exclude-same-patient")
_WIDE = ("wide_a", "wide_b", "wide_c", "wide_d")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the studies: images and queries of the first run, `images` and `queries` of those by size and dimension.

    All ways are timed in `rounds`, those of a single query in `single_rounds`.
    """

    run: tuple[int, int]
    images: tuple[int, ...]
    dims: tuple[int, ...]
    queries: int
    rounds: int
    single_rounds: int


FULL = Sizes((200_000, 16_384), (20_000, 65_000, 200_000, 650_000, 1_300_000), (128, 512, 1_024, 2_000), 4_096, 3, 30)
QUICK = Sizes((8_000, 1_024), (2_000, 16_000), (64, 256), 512, 2, 5)


def retrieval_studies(database: Database, out: Path, *, quick: bool, progress: Progress | None = None) -> list[Study]:
    """Runs by size and by dimension, single queries, and layouts of a table; `quick` for small sizes, in a minute.

    The vectors are in databases of their own on the server of `database`, which are dropped at the end; copies of them
    are kept in folder `out` meanwhile. Raises `InputError` where FAISS (extra `bench`) is not installed.
    """
    if importlib.util.find_spec("faiss") is None:
        raise InputError("the retrieval studies need FAISS: pip install 'medcbir[bench]'")
    sizes = QUICK if quick else FULL
    progress = progress or Silent()
    progress.begin("retrieval studies", "cases", 3 + len(sizes.images) + len(sizes.dims))
    studies = []

    with scratch(database, out) as own:
        images, asked = sizes.run
        fill(own, images, 512, asked)
        measured = run_study(own, images, 512, asked, sizes.rounds, others=True)
        studies.append(
            Study(
                "retrieval-run",
                "A run: the nearest images of many queries",
                FAISS,
                tuple(measured),
                "From the call to the committed hits, exact in pgvector's own distances, with the copy of the vectors "
                "in place. Ways that answer a query at a time are timed for a few queries and multiplied.",
            )
        )
        progress.advance(1)
        studies.append(single_study(own, images, 512, sizes.single_rounds))
        progress.advance(1)
        studies.append(layout_study(own, images, 512, sizes.single_rounds))
        progress.advance(1)

    by_size: list[Measurement] = []
    with scratch(database, out) as own:
        for images in sizes.images:
            fill(own, images, 512, sizes.queries)
            by_size += run_study(own, images, 512, sizes.queries, 1 if images > 500_000 else sizes.rounds)
            progress.advance(1)
    by_dim: list[Measurement] = []
    for dim in sizes.dims:
        with scratch(database, out) as own:
            fill(own, sizes.images[1], dim, sizes.queries)
            by_dim += run_study(own, sizes.images[1], dim, sizes.queries, sizes.rounds)
            progress.advance(1)
    return [
        *studies,
        Study("retrieval-size", "A run, by the size of the index", FAISS, tuple(by_size)),
        Study("retrieval-dimension", "A run, by the dimension of vectors", FAISS, tuple(by_dim)),
    ]


def retrieval_at_scale(
    database: Database, out: Path, *, images: int = 1_322_552, queries: int = 171_753, progress: Progress | None = None
) -> Study:
    """One run of the paper's size (Denner et al. 2024, section 2.1) by `medcbir retrieve`, on synthetic vectors."""
    progress = progress or Silent()
    progress.begin("retrieval at scale", "stages", 2)
    with scratch(database, out) as own:
        fill(own, images, 512, queries)
        progress.advance(1)
        measured, run = by_command(own, _case(images, 512, queries), queries, *_RETRIEVE)
        progress.advance(1)
    note = f"{measured.note}; {run['seconds']:.0f} s by the run's own clock; {_checked(run['certificate'])}"
    return Study("retrieval-scale", "A run of the paper's size", measured.way, (replace(measured, note=note),))


def run_study(
    database: Database, images: int, dim: int, queries: int, rounds: int, *, others: bool = False
) -> list[Measurement]:
    """A run by each way, over vectors that `fill` has put there; with `others`, other layouts and HNSW, too."""
    case = _case(images, dim, queries)
    first, run = by_command(database, case, queries, *_RETRIEVE)
    flat, asked = _flat(images, dim, queries)
    ids = np.linspace(1, queries, _STATEMENTS).astype(int).tolist()

    def one_by_one(name: str, statement: str, note: str = "") -> Way:
        def answer(_: int) -> None:
            for image_id in ids:
                database.query(statement, {"id": image_id, "encoder": ENCODER, "n": N})

        return Way(name, answer, queries / len(ids), note)

    ways = [
        Way(FAISS, lambda _: flat.search(asked, N)),
        Way(
            "medcbir retrieve",
            lambda _: database.retrieve(encoder=ENCODER, n=N, engine="blocked", exclude_same_patient=False),
            note=_checked(run["certificate"]),
        ),
        one_by_one(
            "one pgvector statement per query",
            "SELECT * FROM similar_to(%(id)s, %(encoder)s, %(n)s, split => 'train')",
        ),
    ]
    if others:
        _widen(database)
        built = database.build_index(ENCODER)
        recall = database.index_recall(ENCODER, n=N, queries=50).recall
        ways += [
            one_by_one(
                "one statement per query, four TOASTed columns",
                "SELECT image_id FROM wide WHERE image_id <> %(id)s ORDER BY wide_b <=> "
                "(SELECT wide_b FROM wide WHERE image_id = %(id)s) LIMIT %(n)s",
            ),
            one_by_one(
                "HNSW, one statement per query",
                "SELECT * FROM approximate_top_n("
                "(SELECT v FROM embedding WHERE image_id = %(id)s), %(encoder)s, %(n)s)",
                f"approximate: recall at {N} {recall:.3f}, built in {built:.0f} s",
            ),
        ]
    measured = measure(case, ways, rounds, queries)
    return [*measured, replace(first, ratio=measured[0].seconds / first.seconds)]


def single_study(database: Database, images: int, dim: int, rounds: int) -> Study:
    """One query at a time by the Python interface, which gives metadata as well, and by FAISS, which gives none."""
    flat, asked = _flat(images, dim, rounds)
    database.warm(ENCODER)
    by_sql = dict.fromkeys(("dataset", "modality", "region", "split", "finding", "named", "exclude_pixels"))

    def search(number: int, where: Filter | None = None) -> object:
        return database.search(vector=asked[number], encoder=ENCODER, n=N, where=where)

    ways = [
        Way(FAISS, lambda number: flat.search(asked[number : number + 1], N)),
        Way("db.search, from memory", search),
        Way("db.search, from memory, of one split", lambda number: search(number, Filter(split="train"))),
        Way(
            "SQL function top_n, with metadata",
            lambda number: database.query(
                query("hits_near_vector"), by_sql | {"vector": asked[number], "encoder": ENCODER, "n": N}
            ),
        ),
    ]
    measured = measure(f"{images:,} x {dim}, one query", ways, rounds, 1)
    about = "From the call to the hits with their metadata, exact in pgvector's own distances."
    return Study("retrieval-single", "One query at a time", FAISS, tuple(measured), about)


def layout_study(database: Database, images: int, dim: int, rounds: int) -> Study:
    """One exact query by SQL: the function and the view against bare statements on other layouts of a table."""
    _widen(database)
    _, asked = _flat(1, dim, rounds)

    def ask(statement: str, *, workers: int | None = None) -> Any:
        def answer(number: int) -> None:
            database.query(
                "SELECT set_config('max_parallel_workers_per_gather', %(w)s, false)", {"w": str(workers or 0)}
            )
            database.query(statement, {"query": asked[number], "encoder": ENCODER, "n": N})

        return answer

    ways = [
        Way(
            "bare SELECT, PLAIN table", ask("SELECT image_id FROM bare ORDER BY v <=> %(query)s LIMIT %(n)s", workers=2)
        ),
        Way("top_n", ask("SELECT * FROM top_n(%(query)s, %(encoder)s, %(n)s)", workers=2)),
        Way("top_n, without parallel workers", ask("SELECT * FROM top_n(%(query)s, %(encoder)s, %(n)s)")),
        Way(
            "view image_vectors",
            ask(f"SELECT image_id FROM image_vectors ORDER BY {ENCODER} <=> %(query)s LIMIT %(n)s", workers=2),  # noqa: S608
        ),
        Way(
            "bare SELECT, four TOASTed columns",
            ask("SELECT image_id FROM wide ORDER BY wide_b <=> %(query)s LIMIT %(n)s", workers=2),
        ),
    ]
    measured = measure(f"{images:,} x {dim}, one query", ways, rounds, 1)
    about = "What the layout of the table, and the planner's parallel workers, do to one exact query."
    return Study("retrieval-layout", "One query by SQL, by layout", ways[0].name, tuple(measured), about)


def _flat(images: int, dim: int, queries: int) -> tuple[Any, Vectors]:
    """FAISS's index of what `fill` has stored as index, and the vectors of the queries (queries, dim)."""
    import faiss

    clusters = Clusters(dim)
    flat = faiss.IndexFlatIP(dim)
    for _, vectors in clusters.chunks(queries, queries + images):
        flat.add(vectors)
    return flat, np.concatenate([vectors for _, vectors in clusters.chunks(0, queries)])


def _widen(database: Database) -> None:
    """Tables with the same vectors: one column kept PLAIN, and four columns as a table of all encoders would have."""
    if database.query("SELECT to_regclass('wide') IS NOT NULL") == [(True,)]:
        return
    columns = sql.SQL(", ").join(sql.SQL("{} vector").format(sql.Identifier(name)) for name in _WIDE)
    with open_database(database.conninfo, install="never") as connection:
        connection.execute("CREATE TABLE bare (image_id bigint PRIMARY KEY, v vector)")
        connection.execute("ALTER TABLE bare ALTER COLUMN v SET STORAGE PLAIN")
        connection.execute("INSERT INTO bare SELECT image_id, v FROM embedding")
        connection.execute(sql.SQL("CREATE TABLE wide (image_id bigint PRIMARY KEY, {})").format(columns))
        connection.execute("INSERT INTO wide SELECT image_id, v, v, v, v FROM embedding")
        connection.execute("VACUUM ANALYZE bare, wide")


def _case(images: int, dim: int, queries: int) -> str:
    return f"{images:,} x {dim}, {queries:,} queries, N = {N}"


def _checked(certificate: dict[str, Any]) -> str:
    return (
        f"{certificate['hardware']}; {certificate['candidates']['mean']:.1f} distances per query by pgvector; "
        f"{certificate['sample']} queries checked, {certificate['differences']} differences"
    )
