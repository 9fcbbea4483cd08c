"""Filters and exclusions in searches, from memory or by SQL, and in runs by either engine; named ones, their rights."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from vector_sets import SIZE, fill, random

import medcbir
from medcbir.errors import InputError
from medcbir.store.connection import Connection, open_database
from medcbir.types import Filter


@pytest.fixture
def filled(db: medcbir.Database, tmp_path: Path) -> medcbir.Database:
    """Findings by image_id % 4 (3 has two labels), studies of 5 images, widths of 100 to 1299."""
    rng = np.random.default_rng(1)
    fill(db, tmp_path, random(rng), np.zeros(SIZE, np.int64))
    for finding in ("effusion", "nodule", "none"):
        db.query(
            "INSERT INTO label (name, key, modality, region, finding, kind) VALUES "
            "('CT/chest/' || %(f)s, 'ct/chest/' || %(f)s, 'CT', 'chest', %(f)s, 'pathology') RETURNING 1",
            {"f": finding},
        )
    db.query("INSERT INTO image_label SELECT image_id, 1 + image_id % 4 FROM image WHERE image_id % 4 < 3 RETURNING 1")
    db.query(
        "INSERT INTO image_label SELECT image_id, g FROM image, generate_series(1, 2) AS g "
        "WHERE image_id % 4 = 3 RETURNING 1"
    )
    db.query("UPDATE image SET width = 99 + image_id, study_uid = '1.2.' || image_id / 5 RETURNING 1")
    return db


def nearest(db: medcbir.Database, keep: Callable[[int], bool], query: int, n: int) -> list[int]:
    """By numpy in float64, whose order is pgvector's where nothing is nearly tied."""
    rows = db.query("SELECT image_id, v::real[] FROM embedding_e ORDER BY image_id")
    vectors = {image_id: np.array(v, np.float64) for image_id, v in rows}
    others = [image_id for image_id in vectors if image_id != query and keep(image_id)]
    return sorted(others, key=lambda image_id: -vectors[image_id] @ vectors[query])[:n]


FILTERS: dict[str, tuple[Filter, Callable[[int], bool]]] = {
    "finding": (Filter(finding="effusion"), lambda i: i % 4 in (0, 3)),
    "finding and split": (Filter(finding="nodule", split="train"), lambda i: i % 4 in (1, 3) and i > 60),
    "named": (Filter(named="wide"), lambda i: i > 901),
    "named and modality": (Filter(named="wide", modality="CT"), lambda i: i > 901 and (i - 1) % 3 == 0),
    "a finding that none has": (Filter(finding="fracture"), lambda i: False),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("warm", [False, True])
def test_searches_find_what_passes(filled: medcbir.Database, name: str, warm: bool) -> None:
    filled.add_filter("wide", "width > 1000")
    if warm:
        filled.warm("e")
    where, keep = FILTERS[name]
    for query in (1, 500):
        found = [hit.image_id for hit in filled.search(image_id=query, encoder="e", n=10, where=where)]
        assert found == nearest(filled, keep, query, 10)
        vector = np.array(filled.query("SELECT v::real[] FROM embedding_e WHERE image_id = %(i)s", {"i": query})[0][0])
        assert set(found) <= {hit.image_id for hit in filled.search(vector=vector, encoder="e", n=11, where=where)}


@pytest.mark.parametrize("warm", [False, True])
def test_a_search_leaves_out_the_querys_study(filled: medcbir.Database, warm: bool) -> None:
    if warm:
        filled.warm("e")
    found = filled.search(image_id=502, encoder="e", n=20, exclude_same_study=True)
    assert [hit.image_id for hit in found] == nearest(filled, lambda i: i // 5 != 100, 502, 20)


@pytest.mark.parametrize("engine", ["pgvector", "blocked"])
@pytest.mark.parametrize("name", ["finding", "named", "named and modality"])
def test_runs_retrieve_what_passes(filled: medcbir.Database, name: str, engine: str) -> None:
    """Images with several labels take no part in runs."""
    filled.add_filter("wide", "width > 1000")
    where, keep = FILTERS[name]
    run = filled.retrieve(encoder="e", n=7, index=where, engine=engine)
    hits = dict(filled.query("SELECT query_id, hit_ids FROM run_query WHERE run_id = %(r)s", {"r": run.run_id}))
    assert run.queries == len(hits) == 45
    for query in (1, 28, 60):
        assert hits[query] == nearest(filled, lambda i: keep(i) and i % 4 < 3, query, 7)
    assert filled.query("SELECT index_filter FROM run WHERE run_id = %(r)s", {"r": run.run_id}) == [(where.given,)]


@pytest.mark.parametrize("engine", ["pgvector", "blocked"])
def test_a_run_leaves_out_the_querys_study_and_counts_what_is_relevant(filled: medcbir.Database, engine: str) -> None:
    run = filled.retrieve(encoder="e", n=9, queries=None, index=None, exclude_same_study=True, engine=engine)
    assert run.exclude_same_study
    rows = filled.query(
        "SELECT query_id, hit_ids, relevant FROM run_query WHERE run_id = %(r)s AND query_id IN (1, 500, 501, 1200)",
        {"r": run.run_id},
    )
    taking_part = [i for i in range(1, SIZE + 1) if i % 4 < 3]
    for query, hits, relevant in rows:
        assert hits == nearest(filled, lambda i, q=query: i % 4 < 3 and i // 5 != q // 5, query, 9)  # type: ignore[misc]
        assert relevant == sum(i % 4 == query % 4 and i // 5 != query // 5 for i in taking_part)
    assert len(rows) == 4


def test_a_filter_that_is_not_there_is_told(filled: medcbir.Database) -> None:
    filled.add_filter("wide", "width > 1000")
    for call in (
        lambda: filled.search(image_id=1, encoder="e", where=Filter(named="tall")),
        lambda: filled.retrieve(encoder="e", index=Filter(named="tall")),
        lambda: filled.searchable("e", Filter(named="tall")),
    ):
        with pytest.raises(InputError, match=r"no filter 'tall'.*there are wide"):
            call()
    with pytest.raises(psycopg.Error, match="no filter 'tall'"):
        filled.query("SELECT * FROM similar_to(1, 'e', 3, named_filter => 'tall')")


def test_filters_come_and_go(filled: medcbir.Database) -> None:
    assert filled.filters() == {}
    filled.add_filter("wide", "width > 1000")
    filled.add_filter("even", "image_id % 2 = 0 AND uri <> ';)'")
    assert filled.filters() == {"even": "image_id % 2 = 0 AND uri <> ';)'", "wide": "width > 1000"}
    assert filled.query("SELECT filter, count(*) FROM filtered_image GROUP BY 1 ORDER BY 1") == [
        ("even", 600),
        ("wide", 299),
    ]
    with pytest.raises(InputError, match="exists"):
        filled.add_filter("wide", "true")
    filled.drop_filter("even")
    assert list(filled.filters()) == ["wide"]
    with pytest.raises(InputError, match="no filter 'even'"):
        filled.drop_filter("even")


@pytest.mark.parametrize(
    "predicate",
    [
        "true); DROP TABLE image; --",
        "true) UNION SELECT label_id FROM label WHERE (true",
        "true /* ",
        "true -- ",
        "uri = $$a$$",
        "uri = 'a",
        r"uri = E'\'' OR true) UNION SELECT 1 WHERE (''=''",
        "no_such_column > 1",
        "width",
        "",
    ],
)
def test_a_predicate_is_one_expression(filled: medcbir.Database, predicate: str) -> None:
    with pytest.raises(InputError):
        filled.add_filter("bad", predicate)
    assert filled.filters() == {}
    assert filled.query("SELECT count(*) FROM image") == [(SIZE,)]


@pytest.mark.parametrize("name", ["", "A", "a-b", "a b", 'a"', "1a", "x" * 51])
def test_a_filter_has_a_plain_name(filled: medcbir.Database, name: str) -> None:
    with pytest.raises(InputError, match="cannot be called"):
        filled.add_filter(name, "true")


@pytest.fixture
def reader(filled: medcbir.Database) -> Iterator[Connection]:
    """A role that may read everything and create nothing."""
    role = f"reader_{np.random.default_rng().integers(10**9)}"
    with open_database(filled.conninfo, install="never") as owner:
        owner.execute(f"CREATE ROLE {role}")
        try:
            owner.execute(
                f"GRANT USAGE ON SCHEMA medcbir TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA medcbir TO {role}"
            )
            with open_database(filled.conninfo, install="never") as connection:
                connection.execute(f"SET ROLE {role}")
                yield connection
        finally:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_only_who_may_create_in_the_schema_defines_filters(filled: medcbir.Database, reader: Connection) -> None:
    for statement in (
        "SELECT add_filter('mine', 'true')",
        "SELECT drop_filter('wide')",
        "SELECT refresh_filtered_image()",
        "CREATE VIEW medcbir.filter_mine AS SELECT image_id FROM medcbir.image",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(statement)
    filled.add_filter("wide", "width > 1000")
    row = reader.execute("SELECT count(*) FROM filtered_image WHERE filter = 'wide'").fetchone()
    assert row == (299,)
