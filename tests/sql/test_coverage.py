"""What encoders have made of images, by hand-counted rows; encoders that are retired, and what stays of them."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.random import default_rng

import medcbir
from medcbir.errors import EncoderError
from medcbir.store.claims import Claims
from medcbir.store.connection import Connection, open_database
from medcbir.store.encoders import StoredEncoder, add_encoder, find_encoder
from medcbir.store.vectors import copy_in, unit

DIM = 8


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """Ten images: 1 to 6 in dataset a, 7 to 10 in b; 6 and 10 have no file."""
    with open_database(database_url, install="never") as opened:
        opened.execute("INSERT INTO dataset (name) VALUES ('a'), ('b')")
        opened.execute(
            "INSERT INTO image (dataset_id, uri, path, split) SELECT CASE WHEN g <= 6 THEN 1 ELSE 2 END, 'u' || g, "
            "CASE WHEN g NOT IN (6, 10) THEN '/f' || g END, 'test' FROM generate_series(1, 10) AS g"
        )
        yield opened


def encoder(connection: Connection, name: str, checkpoint: str, images: range | list[int]) -> StoredEncoder:
    """An encoder of this recipe, with vectors of these images."""
    recipe = {"checkpoint": checkpoint}
    digest = hashlib.sha256(json.dumps(recipe).encode()).digest()
    stored = add_encoder(connection, name, DIM, recipe, digest, checkpoint_sha256=None, versions={})
    vectors = unit(default_rng(len(checkpoint)).normal(size=(len(images), DIM)))
    copy_in(connection, stored.name, np.array(images, dtype=np.int64), vectors)
    return stored


def reject(connection: Connection, of: StoredEncoder, uri: str, reason: str) -> None:
    connection.execute(
        "INSERT INTO rejected (stage, encoder_id, dataset, uri, frame, kind, reason) "
        "VALUES ('encode', %s, 'a', %s, 0, 'unreadable', %s)",
        (of.encoder_id, uri, reason),
    )


def ask(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def test_every_image_counts_once_for_every_encoder(connection: Connection) -> None:
    first = encoder(connection, "first", "1", [1, 2, 6, 7])
    encoder(connection, "second", "2", range(1, 11))
    reject(connection, first, "u3", "is cut short")
    reject(connection, first, "u1", "of an earlier time")  # it has a vector by now
    connection.execute("INSERT INTO stale_vector VALUES (%s, 4), (%s, 3), (%s, 7)", (first.encoder_id,) * 3)
    assert ask(connection, "SELECT * FROM encoder_coverage ORDER BY 1, 2") == [
        ("first", "a", 6, 3, 1, 1, 1, 0),  # done 1 2 6, missing 5, stale 4, failed 3
        ("first", "b", 4, 1, 2, 0, 0, 1),  # done 7, missing 8 9, no file 10
        ("second", "a", 6, 6, 0, 0, 0, 0),
        ("second", "b", 4, 4, 0, 0, 0, 0),
    ]
    assert ask(connection, "SELECT encoder, image_id, reason FROM image_coverage WHERE state = 'failed'") == [
        ("first", 3, "is cut short")
    ]
    assert ask(connection, "SELECT count(*) FROM image_coverage WHERE reason IS NOT NULL") == [(1,)]


def test_a_retired_encoder_leaves_nothing_and_its_name_is_free(connection: Connection) -> None:
    other = encoder(connection, "other", "0", range(1, 11))
    encoder(connection, "e", "1", range(1, 11))
    assert ask(connection, "SELECT retire_encoder('e')") == [(None,)]
    assert ask(connection, "SELECT name FROM encoder") == [("other",)]
    assert ask(connection, "SELECT DISTINCT encoder_id FROM embedding") == [(other.encoder_id,)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        ask(connection, "SELECT e FROM image_vectors")
    encoder(connection, "e", "another", [1])
    assert ask(connection, "SELECT count(e), count(other) FROM image_vectors") == [(1, 10)]


def test_runs_of_a_retired_encoder_stay_under_its_recipe_s_name(connection: Connection) -> None:
    stored = encoder(connection, "e", "1", range(1, 11))
    connection.execute(
        "INSERT INTO run (name, encoder_id, n, engine, query_filter, index_filter, exclude_same_patient, query_count, "
        "index_count, seconds) VALUES ('r', %s, 1, 'pgvector', '{}', '{}', false, 0, 0, 0)",
        (stored.encoder_id,),
    )
    kept = f"e_{stored.recipe_sha256.hex()[:8]}"
    assert ask(connection, "SELECT retire_encoder('e')") == [(kept,)]
    assert ask(connection, "SELECT e.name, e.retired_at IS NULL FROM run JOIN encoder AS e USING (encoder_id)") == [
        (kept, False)
    ]
    assert ask(connection, "SELECT * FROM encoder_coverage") == []
    with pytest.raises(EncoderError, match="it has none yet"):
        find_encoder(connection, kept)
    again = encoder(connection, "e", "1", [3])  # the same recipe: the same encoder, under its name
    assert (again.encoder_id, again.name) == (stored.encoder_id, "e")
    assert ask(connection, "SELECT count(e) FROM image_vectors") == [(1,)]


def test_a_new_checkpoint_fills_another_encoder_and_takes_the_name_when_it_is_complete(
    connection: Connection, database_url: str
) -> None:
    old = encoder(connection, "e", "1", range(1, 9))
    new = encoder(connection, "e", "22", [1, 2, 3])
    assert new.name == f"e_{new.recipe_sha256.hex()[:8]}"
    assert find_encoder(connection, "e") == old
    with medcbir.connect(database_url) as db:
        with pytest.raises(EncoderError, match="lacks the vectors of 5 images"):
            db.retire("e")
        assert find_encoder(connection, "e") == old
        encoder(connection, "e", "22", [4, 5, 7, 8])
        reject(connection, new, "u9", "is away")  # dataset a has no such image: still missing
        with pytest.raises(EncoderError, match="lacks the vectors of 1 images"):
            db.retirement("e")
        connection.execute("UPDATE rejected SET dataset = 'b'")
        plan = db.retirement("e")
        assert (plan.vectors, plan.results, plan.successor, plan.failed) == (8, 0, new.name, 1)
        taken = ask(connection, f"SELECT image_id, v::text FROM embedding_{new.name} ORDER BY 1")
        assert db.retire("e") == plan
        assert find_encoder(connection, "e").encoder_id == new.encoder_id
        assert ask(connection, "SELECT image_id, v::text FROM embedding_e ORDER BY 1") == taken
        assert ask(connection, "SELECT count(e) FROM image_vectors") == [(7,)]
        assert [hit.image_id for hit in db.search(image_id=1, encoder="e", n=9)]
        assert [row["encoder"] for row in db.coverage("e")] == ["e", "e"]
    assert encoder(connection, "e", "22", []).name == "e"
    assert encoder(connection, "e", "1", []).name == f"e_{old.recipe_sha256.hex()[:8]}"


def test_an_encoder_that_is_being_encoded_or_read_or_shown_by_a_view_is_not_retired(
    connection: Connection, database_url: str
) -> None:
    stored = encoder(connection, "e", "1", [1])
    with medcbir.connect(database_url) as db:
        with open_database(database_url, install="never") as working:
            claimed = next(Claims(working, stored.encoder_id, None, 2).take())
            assert [each.image_id for each in claimed] == [2, 3]
            with pytest.raises(EncoderError, match="is being encoded by 1 processes"):
                db.retire("e")
        connection.execute("CREATE VIEW public.mine AS SELECT e FROM image_vectors")
        with pytest.raises(EncoderError, match=r"view public\.mine depends on view image_vectors"):
            db.retire("e")
        connection.execute("DROP VIEW public.mine")
        with open_database(database_url, install="never") as reading, reading.transaction():
            reading.execute("SELECT count(*) FROM embedding_e")
            with pytest.raises(EncoderError, match="are being read"):
                db.retire("e")
        assert ask(connection, "SELECT count(e) FROM image_vectors") == [(1,)]
        db.retire("e")
    assert ask(connection, "SELECT count(*) FROM encoder") == [(0,)]


def test_which_images_have_a_vector_is_answered_without_reading_vectors(connection: Connection) -> None:
    stored = encoder(connection, "e", "1", range(1, 11))
    connection.execute("VACUUM ANALYZE embedding_e")
    connection.execute("SET enable_seqscan = off")
    for condition in ("b.encoder_id = e.encoder_id", f"b.encoder_id = {stored.encoder_id}"):
        plan = "\n".join(
            row[0]
            for row in ask(
                connection,
                "EXPLAIN SELECT count(b.image_id) FROM encoder AS e CROSS JOIN image AS i "
                f"LEFT JOIN embedding AS b ON {condition} AND b.image_id = i.image_id",
            )
        )
        assert "Index Only Scan using embedding_e_id on embedding_e" in plan, plan
