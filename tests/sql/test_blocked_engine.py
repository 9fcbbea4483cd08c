"""The blocked engine answers as the pgvector engine does: ids, order and distances, bit for bit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from vector_sets import CHAINS, QUERIES, SETS, SIZE, Rows, chains, clustered, duplicated, fill, random

import medcbir
from medcbir.errors import RunError
from medcbir.retrieval import blocked, cache, engine, sieve
from medcbir.retrieval.engine import choose
from medcbir.store.connection import Connection, open_database
from medcbir.store.encoders import StoredEncoder
from medcbir.types import Filter, Run


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a thousand images take several blocks and batches, and some queries are crowded."""
    monkeypatch.setattr(engine, "BLOCKS", {"pgvector": 32, "blocked": 40})
    for name, size in {
        "_QUERY_BLOCK": 24,
        "_INDEX_BLOCK": 160,
        "_FIRST_BLOCK": 50,
        "_PENDING": 4000,
        "_CROWDED": 300,
    }.items():
        monkeypatch.setattr(sieve, name, size)


@pytest.fixture(params=range(len(CHAINS)), ids=CHAINS)
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "products", lambda dim: chains(dim)[request.param])


def answers(db: medcbir.Database, run: Run) -> list[tuple[object, ...]]:
    return db.query(
        "SELECT query_id, hit_ids, hit_distances FROM run_query WHERE run_id = %(run)s ORDER BY query_id",
        {"run": run.run_id},
    )


def certificate(db: medcbir.Database, run: Run) -> dict[str, float]:
    found: dict[str, float] = db.query("SELECT certificate FROM run WHERE run_id = %(run)s", {"run": run.run_id})[0][0]
    return found


def check(
    db: medcbir.Database,
    n: int,
    *,
    queries: Filter = Filter(split="test"),  # noqa: B008
    index: Filter = Filter(split="train"),  # noqa: B008
    exclude_same_patient: bool = True,
) -> dict[str, float]:
    """Both engines on the same images; the certificate of the blocked one."""
    by_engine = {
        name: db.retrieve(
            encoder="e", n=n, queries=queries, index=index, engine=name, exclude_same_patient=exclude_same_patient
        )
        for name in ("pgvector", "blocked")
    }
    expected, found = (answers(db, by_engine[name]) for name in ("pgvector", "blocked"))
    assert len(expected) == by_engine["blocked"].queries
    assert found == expected
    return certificate(db, by_engine["blocked"])


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
@pytest.mark.usefixtures("products")
def test_no_difference_on(make: Callable[[np.random.Generator], Rows], db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    fill(db, tmp_path, make(rng), rng.integers(0, 200, SIZE))
    for n in (1, 10, 100):
        check(db, n)
    check(db, 7, queries=Filter(modality="CT", dataset="set 0"), index=Filter(), exclude_same_patient=False)


@pytest.mark.usefixtures("products")
def test_more_hits_asked_for_than_there_are_images(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    fill(db, tmp_path, clustered(rng), rng.integers(0, 20, SIZE))
    check(db, 5000)


def test_patients_with_most_of_the_index_take_no_places(db: medcbir.Database, tmp_path: Path) -> None:
    """Every image of the largest patient lies nearer to its queries than any other does."""
    rng = np.random.default_rng(2)
    patients = rng.choice([1, 2, 3, 0], SIZE, p=[0.9, 0.05, 0.03, 0.02])
    rows = rng.normal(size=(5, 32))[patients] + 0.3 * rng.normal(size=(SIZE, 32))
    fill(db, tmp_path, rows.astype(np.float32), patients)
    for n in (1, 10, 200):
        check(db, n)
        check(db, n, index=Filter(), exclude_same_patient=False)


def test_a_query_whose_patient_has_the_whole_index_finds_nothing(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    fill(db, tmp_path, random(rng), np.ones(SIZE, np.int64))
    check(db, 10, queries=Filter(dataset="set 0"), index=Filter(dataset="set 0"))
    assert db.query("SELECT count(*) FROM hit") == [(0,)]


def test_filters_leave_the_same_images(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    fill(db, tmp_path, duplicated(rng), rng.integers(0, 30, SIZE))
    check(db, 10, index=Filter(split="train", modality="MR"))
    check(db, 10, queries=Filter(dataset="set 1"), index=Filter(dataset="set 0", modality="US"))


def test_the_certificate_tells_how_the_run_was_answered(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    fill(db, tmp_path, random(rng), np.zeros(SIZE, np.int64))
    stated = check(db, 10)
    assert stated["engine"] == "blocked"
    assert stated["differences"] == stated["outside_bound"] == stated["ties"] == 0
    assert stated["sample"] == 8
    assert stated["smallest_margin"] > 0
    assert stated["candidates"]["mean"] >= 10  # type: ignore[index]
    assert stated["answered_by_statement"] == 0


def test_queries_in_a_crowd_are_answered_by_statements(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    rows = random(rng)
    rows[:10] = rows[200:900] = rows[0]
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    stated = check(db, 10)
    assert stated["answered_by_statement"] >= 10
    assert stated["ties"] >= 10
    assert stated["smallest_margin"] == 0


@pytest.fixture
def disturbed(db: medcbir.Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Statements that another session commits when the run's snapshot is taken and its vectors are not yet read."""
    statements: list[str] = []

    def first_disturb(connection: Connection, encoder: StoredEncoder, folder: Path) -> cache.CachedVectors:
        with open_database(db.conninfo, install="never") as other:
            while statements:
                other.execute(statements.pop())
        return cache.cached_vectors(connection, encoder, folder)

    monkeypatch.setattr(blocked, "cached_vectors", first_disturb)
    yield statements
    assert not statements


@pytest.mark.parametrize("warm", [False, True])
def test_a_run_sees_one_snapshot(db: medcbir.Database, tmp_path: Path, disturbed: list[str], warm: bool) -> None:
    rng = np.random.default_rng(8)
    fill(db, tmp_path, random(rng), np.zeros(SIZE, np.int64))
    before = answers(db, db.retrieve(encoder="e", n=10, engine="pgvector"))
    if warm:
        db.retrieve(encoder="e", n=10, engine="blocked")
    disturbed += [
        "DELETE FROM image WHERE split = 'train' AND image_id % 5 = 4",
        "UPDATE embedding_e SET v = (SELECT v FROM embedding_e LIMIT 1) WHERE image_id % 7 = 3",
        "INSERT INTO image (dataset_id, uri, split) SELECT 1, 'new' || g, 'train' FROM generate_series(1, 50) AS g",
        "INSERT INTO embedding_e (image_id, v) SELECT i.image_id, e.v FROM image AS i, "
        "(SELECT v FROM embedding_e LIMIT 1) AS e WHERE i.uri LIKE 'new%'",
    ][::-1]
    during = db.retrieve(encoder="e", n=10, engine="blocked")
    assert answers(db, during) == before
    check(db, 10)


def test_a_query_that_is_deleted_during_the_run_is_told(
    db: medcbir.Database, tmp_path: Path, disturbed: list[str]
) -> None:
    fill(db, tmp_path, random(np.random.default_rng(12)), np.zeros(SIZE, np.int64))
    disturbed.append("DELETE FROM image WHERE uri = '5'")
    with pytest.raises(RunError, match="retrieve again"):
        db.retrieve(encoder="e", n=10, engine="blocked")
    assert db.query("SELECT count(*) FROM run") == [(0,)]


def test_the_copy_of_the_vectors_is_kept_while_nothing_changes(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    fill(db, tmp_path, random(rng), np.zeros(SIZE, np.int64))
    folder = tmp_path / "medcbir-data" / "cache"

    def copies() -> dict[str, int]:
        return {file.name: file.stat().st_ino for file in folder.glob("*.vectors")}

    check(db, 3)
    first = copies()
    check(db, 5)
    assert copies() == first
    assert len(first) == 1
    db.query("UPDATE embedding_e SET v = v WHERE image_id = 100 RETURNING 1")
    check(db, 5)
    assert len(copies()) == 1
    assert copies() != first
    (file,) = folder.glob("*.vectors")
    file.write_bytes(file.read_bytes()[:1000])
    check(db, 5)


def test_a_damaged_copy_fails_the_run_and_stores_nothing(db: medcbir.Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    rows = random(rng)
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    db.retrieve(encoder="e", n=10, engine="blocked", name="good")
    (file,) = (tmp_path / "medcbir-data" / "cache").glob("*.vectors")
    stored = np.memmap(file, np.float32, "r+", shape=rows.shape)
    stored[QUERIES:] = stored[QUERIES:][::-1].copy()
    stored.flush()
    with pytest.raises(RunError, match="contradicts pgvector"):
        db.retrieve(encoder="e", n=10, engine="blocked", name="bad")
    assert db.query("SELECT name FROM run") == [("good",)]


def test_a_folder_that_cannot_be_written_is_named(db: medcbir.Database, tmp_path: Path) -> None:
    fill(db, tmp_path, random(np.random.default_rng(11)), np.zeros(SIZE, np.int64))
    (tmp_path / "medcbir-data").mkdir(exist_ok=True)
    (tmp_path / "medcbir-data" / "cache").write_text("")
    with pytest.raises(RunError, match="choose another --data-dir"):
        db.retrieve(encoder="e", n=10, engine="blocked")


def test_auto_takes_the_blocked_engine_for_large_runs() -> None:
    assert choose(100, 1000) == "pgvector"
    assert choose(16_384, 200_000) == "blocked"
