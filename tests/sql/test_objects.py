"""The SQL functions and image_vectors, by value and by plan."""

import re
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from numpy.random import default_rng

from medcbir.store.connection import Connection, open_database
from medcbir.store.sqlfiles import packaged_folder
from medcbir.store.vectors import copy_in, copy_out, unit


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with open_database(database_url, install="never") as opened:
        yield opened


def _fill(connection: Connection, count: int, **encoders: int) -> dict[str, np.ndarray]:
    connection.execute("INSERT INTO dataset (name) VALUES ('a'), ('b')")
    connection.execute(
        "INSERT INTO image (dataset_id, uri, modality, split) SELECT 1 + g %% 2, g::text, "
        "CASE WHEN g %% 3 = 0 THEN 'CT' ELSE 'MR' END, 'train' FROM generate_series(1, %s) AS g",
        (count,),
    )
    made = {}
    for number, (name, dim) in enumerate(encoders.items()):
        connection.execute("SELECT add_encoder(%s, %s, '{}', %s)", (name, dim, bytes([number])))
        made[name] = unit(default_rng(number).normal(size=(count, dim)))
        copy_in(connection, name, np.arange(1, count + 1), made[name])
    return made


def test_vectors_survive_binary_copy_bit_for_bit(connection: Connection) -> None:
    vectors = _fill(connection, 9001, e=17)["e"]
    ids, stored = (np.concatenate(parts) for parts in zip(*copy_out(connection, "e", 17), strict=True))
    np.testing.assert_array_equal(ids, np.arange(1, 9002))
    np.testing.assert_array_equal(stored, vectors)
    text = connection.execute("SELECT v::real[] FROM embedding WHERE image_id = 4097").fetchone()
    np.testing.assert_array_equal(np.array(text[0], dtype=np.float32), vectors[4096])


def test_the_database_refuses_vectors_that_are_not_unit_or_of_another_dimension(connection: Connection) -> None:
    _fill(connection, 3, e=4)
    connection.execute("DELETE FROM embedding_e")
    for wrong in ("[1,1,0,0]", "[0,0,0,0]", "[1,0,0]"):
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO embedding_e (image_id, v) VALUES (1, %s)", (wrong,))
    with pytest.raises(psycopg.errors.DataException):
        connection.execute("INSERT INTO embedding_e (image_id, v) VALUES (1, '[NaN,0,0,0]')")


@pytest.mark.parametrize(("dim", "storage"), [(8, "p"), (2000, "p"), (2001, "e"), (16000, "e")])
def test_vectors_are_kept_plain_where_a_page_holds_them(connection: Connection, dim: int, storage: str) -> None:
    _fill(connection, 2, e=dim)
    row = connection.execute(
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'embedding_e'::regclass AND attname = 'v'"
    ).fetchone()
    assert row == (storage,)


def test_top_n_equals_brute_force_with_each_filter(connection: Connection) -> None:
    vectors = _fill(connection, 1500, e=16)["e"].astype(np.float64)
    query = vectors[700]
    ids = np.arange(1, 1501)
    filters = {
        "": ids > 0,
        ", dataset => 'b'": ids % 2 == 1,
        ", modality => 'CT'": ids % 3 == 0,
        ", modality => 'CT', dataset => 'a', split => 'train'": (ids % 3 == 0) & (ids % 2 == 0),
        ", exclude_image => 701": ids != 701,
        ", split => 'test'": ids < 0,
        ", region => 'chest'": ids < 0,
    }
    for arguments, allowed in filters.items():
        rows = connection.execute(
            f"SELECT rank, image_id, distance FROM top_n(%s, 'e', 25{arguments})", (query.astype(np.float32),)
        ).fetchall()
        distance = 1 - vectors[allowed] @ query
        order = np.argsort(distance, kind="stable")[:25]
        assert [row[0] for row in rows] == list(range(1, len(order) + 1))
        assert [row[1] for row in rows] == ids[allowed][order].tolist()
        np.testing.assert_allclose([row[2] for row in rows], distance[order], atol=1e-6)


def test_ties_are_ordered_by_image_id(connection: Connection) -> None:
    _fill(connection, 50, e=3)
    connection.execute("UPDATE embedding_e SET v = '[0,0,1]' WHERE image_id % 2 = 0")
    rows = connection.execute("SELECT image_id FROM top_n('[0,0,1]', 'e', 10)").fetchall()
    assert [row[0] for row in rows] == list(range(2, 22, 2))


def test_an_approximate_index_never_answers(connection: Connection) -> None:
    vectors = _fill(connection, 3000, e=8)["e"]
    connection.execute(
        "CREATE INDEX ON embedding_e USING hnsw ((v::vector(8)) vector_cosine_ops) WITH (m = 2, ef_construction = 4)"
    )
    connection.execute("ANALYZE embedding_e; SET hnsw.ef_search = 1; SET enable_seqscan = off")
    for number in range(0, 3000, 500):
        rows = connection.execute("SELECT image_id FROM top_n(%s, 'e', 20)", (vectors[number],)).fetchall()
        exact = np.argsort(1 - vectors.astype(np.float64) @ vectors[number].astype(np.float64), kind="stable")[:20] + 1
        assert [row[0] for row in rows] == exact.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("top_n('[1,0,0]', 'nobody', 3)", "no encoder 'nobody'"),
        ("top_n('[1,0]', 'e', 3)", "the query has 2 dimensions, encoder e has 3"),
        ("top_n('[0,0,0]', 'e', 3)", "zero vector"),
        ("top_n('[1,0,0]', 'e', 0)", "n must be 1 or more, not 0"),
        ("top_n('[1,0,0]', 'e', -5)", "n must be 1 or more, not -5"),
        ("similar_to(999, 'e', 3)", "image 999 has no vector of encoder 'e'"),
    ],
)
def test_wrong_questions_are_told(connection: Connection, call: str, message: str) -> None:
    _fill(connection, 5, e=3)
    with pytest.raises(psycopg.Error, match=message):
        connection.execute(f"SELECT * FROM {call}")


def test_image_vectors_has_a_typed_column_per_encoder_and_unused_ones_cost_nothing(connection: Connection) -> None:
    made = _fill(connection, 20, first=4, second=6)
    types = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'image_vectors'::regclass AND attname IN ('first', 'second') ORDER BY 1"
    ).fetchall()
    assert [(name, kind.split(".")[-1]) for name, kind in types] == [("first", "vector(4)"), ("second", "vector(6)")]
    row = connection.execute("SELECT dataset, second::real[] FROM image_vectors WHERE image_id = 7").fetchone()
    assert row[0] == "b"
    np.testing.assert_array_equal(np.array(row[1], dtype=np.float32), made["second"][6])
    plan = "\n".join(
        line[0]
        for line in connection.execute("EXPLAIN SELECT uri, first FROM image_vectors WHERE modality = 'CT'").fetchall()
    )
    assert "embedding_first" in plan
    for unused in ("embedding_second", "dataset", "patient", "label"):
        assert unused not in plan


def test_a_view_of_the_users_survives_a_new_encoder(connection: Connection) -> None:
    _fill(connection, 2, e=3)
    connection.execute("CREATE VIEW public.mine AS SELECT uri, e FROM image_vectors")
    connection.execute("SELECT add_encoder('f', 3, '{}', '\\xff')")
    assert connection.execute("SELECT count(*) FROM public.mine").fetchone() == (2,)
    assert connection.execute("SELECT count(f) FROM image_vectors").fetchone() == (0,)
    connection.execute("DROP VIEW public.mine")


def test_an_encoder_cannot_take_the_name_of_a_column(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="column of image_vectors"):
        connection.execute("SELECT add_encoder('uri', 3, '{}', '\\x01')")


def test_one_recipe_is_one_encoder(connection: Connection) -> None:
    first = connection.execute("SELECT add_encoder('e', 3, '{}', '\\x01')").fetchone()
    assert connection.execute("SELECT add_encoder('other', 3, '{}', '\\x01')").fetchone() == first
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("SELECT add_encoder('e', 3, '{}', '\\x02')")


def test_every_sql_file_says_what_it_is_and_is_named_after_its_object() -> None:
    for file in packaged_folder("sql").rglob("*.sql"):
        text = file.read_text()
        assert text.startswith("-- "), file
        if file.parent.name in {"views", "functions"}:
            name = file.stem.rpartition("_v")[0]
            assert text.startswith(f"-- {name}: "), file
            assert f"CREATE {file.parent.name[:-1].upper()} {name}" in text, file


def test_the_data_model_lists_the_views_and_functions_that_there_are(connection: Connection) -> None:
    page = (packaged_folder("sql").parent / "docs" / "data-model.md").read_text()
    views = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'medcbir'::regnamespace AND relkind = 'v'"
    ).fetchall()
    functions = connection.execute(
        "SELECT proname FROM pg_proc AS p WHERE pronamespace = 'medcbir'::regnamespace AND NOT EXISTS "
        "(SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')"
    ).fetchall()
    for title, there in (("Views", views), ("Functions", functions)):
        section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
        assert sorted(re.findall(r"^- `(\w+)`", section, re.MULTILINE)) == sorted(name for (name,) in there)


def test_a_large_scan_is_shared_between_workers(connection: Connection) -> None:
    """The plan inside top_n, as the server logs it: with and without a filter, it scans and sorts in parallel."""
    _fill(connection, 6000, e=512)
    connection.execute("ANALYZE embedding_e; ANALYZE image")
    connection.execute(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; "
        "SET auto_explain.log_analyze = on; SET client_min_messages = log"
    )
    plans: list[str] = []
    connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    for call in (
        "top_n((SELECT v FROM embedding_e LIMIT 1), 'e', 10)",
        "top_n((SELECT v FROM embedding_e LIMIT 1), 'e', 10, modality => 'CT')",
        "similar_to(7, 'e', 10, exclude_same_patient => true)",
    ):
        plans.clear()
        connection.execute(f"SELECT * FROM {call}")
        (scan,) = (plan for plan in plans if "FROM embedding_e AS e" in plan)
        assert "Parallel Seq Scan on embedding_e" in scan
        assert "Workers Launched: " in scan
        assert "Workers Launched: 0" not in scan
