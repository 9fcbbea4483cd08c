"""A search in memory answers as the SQL functions do: ids, order and distances, bit for bit; and it stays current."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from vector_sets import SETS, SIZE, Rows, clustered, duplicated, fill, random

import medcbir
from medcbir.errors import InputError, VectorError
from medcbir.retrieval import warm_index
from medcbir.retrieval.hardware import Hardware
from medcbir.retrieval.warmth import Warmth
from medcbir.store.vectors import copy_in
from medcbir.types import Filter


@pytest.fixture(params=[torch.bfloat16, torch.float16, torch.float32], ids=["bfloat16", "float16", "float32"])
def hardware(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_index, "fastest", lambda vectors: Hardware("cpu", request.param))


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each search was answered from memory."""
    seen: list[bool] = []

    def watched(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            hits = method(*arguments, **options)
            seen.append(hits is not None)
            return hits

        return call

    for name in ("near_vector", "near_image"):
        monkeypatch.setattr(Warmth, name, watched(getattr(Warmth, name)))
    return seen


def check(db: medcbir.Database, rows: Rows, **options: object) -> None:
    """The same searches by another Database, which has nothing in memory."""
    image_ids = [row[0] for row in db.query("SELECT image_id FROM embedding_e ORDER BY image_id")]
    with medcbir.connect(db.conninfo, data_dir=db.settings.data_dir) as other:
        for number in range(0, SIZE, SIZE // 5):
            by_id = {"image_id": image_ids[number % len(image_ids)], "encoder": "e", **options}
            assert db.search(**by_id) == other.search(**by_id)
            same = by_id | {"exclude_same_patient": True, "exclude_duplicates": True}
            assert db.search(**same) == other.search(**same)
            moved = {"vector": rows[number] + 0.01 * np.abs(rows[number]).max(), "encoder": "e", **options}
            assert db.search(**moved) == other.search(**moved)


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
@pytest.mark.usefixtures("hardware")
def test_no_difference_on(
    make: Callable[[np.random.Generator], Rows], db: medcbir.Database, tmp_path: Path, in_memory: list[bool]
) -> None:
    rng = np.random.default_rng(7)
    rows = make(rng)
    fill(db, tmp_path, rows, rng.integers(0, 200, SIZE))
    db.warm("e")
    for n in (1, 10, 100, 5000):
        check(db, rows, n=n)
    check(db, rows, n=7, where=Filter(modality="CT", dataset="set 0"))
    check(db, rows, n=7, where=Filter(split="test", region="none such"))
    assert sum(in_memory) > len(in_memory) / 3  # the other database has none in memory


def test_filters_that_few_images_pass(db: medcbir.Database, tmp_path: Path, in_memory: list[bool]) -> None:
    rng = np.random.default_rng(1)
    rows = clustered(rng)
    fill(db, tmp_path, rows, rng.integers(0, 20, SIZE))
    db.query("UPDATE image SET region = 'knee' WHERE image_id % 100 = 7 RETURNING 1")
    db.warm("e")
    check(db, rows, n=10, where=Filter(region="knee"))
    check(db, rows, n=20, where=Filter(region="knee"))
    assert any(in_memory)


def test_what_was_added_since_is_found_from_memory(db: medcbir.Database, tmp_path: Path, in_memory: list[bool]) -> None:
    rng = np.random.default_rng(2)
    rows = random(rng)
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    db.warm("e")
    for batch in ("a", "b"):
        db.query(
            "INSERT INTO image (dataset_id, uri) SELECT 1, %(batch)s || g FROM generate_series(1, 30) AS g RETURNING 1",
            {"batch": batch},
        )
        db.query(
            "INSERT INTO embedding_e (image_id, v) SELECT i.image_id, b.v FROM image AS i JOIN embedding_e AS b ON "
            "b.image_id = i.image_id - %(shift)s WHERE i.uri LIKE %(batch)s || '%%' RETURNING 1",
            {"batch": batch, "shift": SIZE},
        )
        check(db, rows, n=5)
        assert len({hit.uri for hit in db.search(vector=rows[3], encoder="e", n=2)} & {"3", "a4", "b4"}) == 2
    assert sum(in_memory) > len(in_memory) / 3


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM image WHERE image_id % 3 = 1 RETURNING 1",
        "DELETE FROM embedding WHERE image_id % 3 = 1 RETURNING 1",
        "UPDATE embedding_e SET v = (SELECT v FROM embedding_e LIMIT 1) WHERE image_id % 3 = 1 RETURNING 1",
        "WITH gone AS (DELETE FROM embedding_e WHERE image_id % 3 = 1 RETURNING *) SELECT count(*) FROM gone",
    ],
)
def test_what_was_removed_or_replaced_since_is_not_found(db: medcbir.Database, tmp_path: Path, change: str) -> None:
    rows = duplicated(np.random.default_rng(3))
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    db.warm("e")
    db.query(change)
    check(db, rows, n=10)


def test_a_truncated_encoder_finds_nothing(db: medcbir.Database, tmp_path: Path) -> None:
    rows = random(np.random.default_rng(4))
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    db.warm("e")
    with medcbir.store.connection.open_database(db.conninfo, install="never") as connection:
        connection.execute("TRUNCATE embedding_e")
    assert db.search(vector=rows[0], encoder="e") == []
    db.warm("e")
    assert db.search(vector=rows[0], encoder="e") == []


def test_a_change_that_is_rolled_back_is_none(db: medcbir.Database, tmp_path: Path, in_memory: list[bool]) -> None:
    rows = random(np.random.default_rng(5))
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    db.warm("e")
    with medcbir.store.connection.open_database(db.conninfo, install="never") as connection:
        with connection.transaction(force_rollback=True):
            connection.execute("DELETE FROM embedding_e WHERE image_id % 3 = 1")
        with connection.transaction():
            with connection.transaction(force_rollback=True):
                connection.execute("DELETE FROM embedding_e WHERE image_id % 3 = 1")
            connection.execute("DELETE FROM embedding_e WHERE image_id = 1")
    db.search(vector=rows[0], encoder="e")
    assert in_memory == [False]  # the savepoint's row went with it, and the second change was noted again
    check(db, rows, n=10)


def test_errors_are_those_of_the_sql_functions(db: medcbir.Database, tmp_path: Path) -> None:
    rows = random(np.random.default_rng(6))
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    db.warm("e")
    with pytest.raises(InputError, match="has no vector of encoder e"):
        db.search(image_id=10**6, encoder="e")
    with pytest.raises(InputError, match="n must be 1 or more"):
        db.search(image_id=1, encoder="e", n=0)
    with pytest.raises(VectorError, match="has 48 dimensions"):
        db.search(vector=np.ones(7), encoder="e")


def test_searching_again_and_again_loads_the_encoder(
    db: medcbir.Database, tmp_path: Path, in_memory: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcbir.retrieval.warmth._SLOW", 0.0)
    rows = random(np.random.default_rng(7))
    fill(db, tmp_path, rows, np.zeros(SIZE, np.int64))
    expected = db.search(vector=rows[0], encoder="e")
    db.search(vector=rows[0], encoder="e")
    assert db._warmth._loading is not None
    db._warmth._loading.join()
    assert db.search(vector=rows[0], encoder="e") == expected
    assert in_memory == [False, False, True]


def test_the_log_of_changes_stays_short(db: medcbir.Database, tmp_path: Path) -> None:
    fill(db, tmp_path, random(np.random.default_rng(8)), np.zeros(SIZE, np.int64))
    db.query(
        "INSERT INTO vector_change (encoder_id, additive) "
        "SELECT encoder_id, true FROM encoder, generate_series(1, 3000) RETURNING 1"
    )
    db.query("DELETE FROM embedding_e WHERE image_id = 1 RETURNING 1")
    db.warm("e")
    assert db.query("SELECT count(*) FILTER (WHERE additive), count(*) FROM vector_change") == [(1000, 1001)]


@pytest.mark.parametrize(
    ("change", "noted"),
    [
        ("DELETE FROM image WHERE image_id = 1", {"e": 1}),
        ("DELETE FROM image WHERE image_id IN (1, 2, 3, 4)", {"e": 1, "f": 1}),
        ("DELETE FROM image WHERE image_id = 5", {}),
        ("DELETE FROM embedding WHERE image_id = 2", {"e": 1, "f": 1}),
        ("DELETE FROM embedding WHERE image_id = 5", {}),
        ("DELETE FROM embedding_f", {"f": 1}),
    ],
)
def test_a_removal_is_noted_once_for_the_encoders_that_lost_vectors(
    db: medcbir.Database, change: str, noted: dict[str, int]
) -> None:
    """Encoder e has vectors of images 1 to 3, f of 2 to 4, nothing has one of 5."""
    with medcbir.store.connection.open_database(db.conninfo, install="always") as connection:
        connection.execute("INSERT INTO dataset (name) VALUES ('d')")
        connection.execute("INSERT INTO image (dataset_id, uri) SELECT 1, g::text FROM generate_series(1, 5) AS g")
        for name, images in (("e", [1, 2, 3]), ("f", [2, 3, 4])):
            connection.execute("SELECT add_encoder(%s, 2, '{}', %s)", (name, name.encode()))
            copy_in(connection, name, np.array(images), np.repeat(np.eye(1, 2, dtype=np.float32), 3, axis=0))
        connection.execute("DELETE FROM vector_change")
        with connection.transaction():
            connection.execute(change.encode())
            connection.execute(change.encode())
        found = connection.execute(
            "SELECT name, count(*) FROM vector_change JOIN encoder USING (encoder_id) WHERE NOT additive GROUP BY name"
        ).fetchall()
    assert dict(found) == noted


def test_ingesting_new_files_keeps_the_copies_of_vectors_current(db: medcbir.Database, tmp_path: Path) -> None:
    fill(db, tmp_path, random(np.random.default_rng(9)), np.zeros(SIZE, np.int64))
    before = db.query("SELECT count(*) FROM vector_change")
    (tmp_path / "new.csv").write_text("uri\nnew\n")
    assert db.ingest(tmp_path / "new.csv", metadata_only=True).added == 1
    assert db.query("SELECT count(*) FROM vector_change") == before
