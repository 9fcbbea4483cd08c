"""A role with the rights that docs/retrieval.md grants reads and searches everything, and changes nothing."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from numpy.random import default_rng
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import medcbir
from medcbir.errors import DatabaseError
from medcbir.store.connection import Connection, open_database

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "retrieval.md").read_text()
(GRANTS,) = (block for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL) if "GRANT" in block)

ANSWERING = {
    "approximate_top_n": "approximate_top_n((SELECT v FROM embedding_e LIMIT 1), 'e', 3)",
    "average_precision": "average_precision(1)",
    "evaluation_query_without": "evaluation_query_without(1, true, 0.01)",
    "hits_without": "hits_without(1, true, 0.01)",
    "knn_auprc": "knn_auprc(1, 3)",
    "knn_vote": "knn_vote(1, 3)",
    "leaked_hit": "leaked_hit(1, 2)",
    "similar_to": "similar_to(1, 'e', 3, dataset => 'm', finding => 'f1', exclude_same_patient => true)",
    "top_n": "top_n((SELECT v FROM embedding_e LIMIT 1), 'e', 3, named_filter => 'wide')",
}
CHANGING = {
    "add_classification": "add_classification('knn', 1, 1, '{1}', 1, '{}', '{}', 0)",
    "add_encoder": "add_encoder('g', 2, '{}', '\\x07')",
    "add_filter": "add_filter('mine', 'true')",
    "drop_classification": "drop_classification(1)",
    "drop_filter": "drop_filter('wide')",
    "drop_projection": "drop_projection(1)",
    "drop_run": "drop_run(1)",
    "make_partition": "make_partition(1)",
    "refresh_evaluation_query": "refresh_evaluation_query()",
    "refresh_filtered_image": "refresh_filtered_image()",
    "refresh_image_vectors": "refresh_image_vectors()",
    "rename_encoder": "rename_encoder('e', 'mine')",
    "retire_encoder": "retire_encoder('e')",
    "watch_embedding": "watch_embedding('embedding_e')",
}
TRIGGERS = {"note_removed_vectors", "note_vector_change"}
RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = 'medcbir'::regnamespace"
OWN_FUNCTIONS = (
    "FROM pg_proc AS p WHERE pronamespace = 'medcbir'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend AS d "
    "WHERE d.objid = p.oid AND d.deptype = 'e')"
)


def _encode(db: medcbir.Database, folder: Path, encoder: str) -> None:
    vectors = default_rng(len(encoder)).normal(size=(60, 8))
    np.savez(folder / "v.npz", uri=np.arange(60).astype(str), vector=vectors)
    db.import_vectors(folder / "v.npz", encoder=encoder)


@pytest.fixture
def clinic(db: medcbir.Database, tmp_path: Path) -> Iterator[str]:
    """Connection string of the role; an encoder, a run and a filter were there before it, others come after."""
    splits = ("train", "train", "val", "test")
    lines = [f"{number},p{number // 2},{splits[number % 4]},CT,chest,f{number % 3}" for number in range(60)]
    (tmp_path / "m.csv").write_text("\n".join(["uri,patient,split,modality,region,finding", *lines]) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    _encode(db, tmp_path, "e")
    db.retrieve(encoder="e", n=5, name="before")
    db.add_filter("wide", "width IS NULL")
    role = f"clinic_{secrets.token_hex(4)}"
    with open_database(db.conninfo, install="never") as owner:
        owner.execute(re.sub(r"\bclinic\b", role, GRANTS).encode())
        try:
            _encode(db, tmp_path, "later")
            _encode(db, tmp_path, "gone")
            owner.execute("SELECT retire_encoder('gone')")
            db.build_index("e")
            db.retrieve(encoder="later", n=3, name="after")
            db.classify_knn(encoder="e", k=3)
            db.ablate_index_size(encoder="e", sizes=[3])
            db.add_filter("later", "true")
            yield make_conninfo(db.conninfo, options=f"-c role={role}")
        finally:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.fixture
def connection(clinic: str) -> Iterator[Connection]:
    with open_database(clinic, install="never") as opened:
        yield opened


def _names(connection: Connection, statement: str) -> set[str]:
    return {name for (name,) in connection.execute(statement.encode()).fetchall()}


def test_it_reads_every_table_and_view(connection: Connection) -> None:
    there = _names(connection, f"{RELATIONS} AND relkind IN ('r', 'p', 'v')")
    assert there > {"image_vectors", "embedding_later", "run_query_2", "filter_later"}
    for name in there:
        assert connection.execute(f'SELECT * FROM "{name}" LIMIT 3'.encode()).description
    assert connection.execute("SELECT count(e), count(later) FROM image_vectors").fetchone() == (60, 60)


def test_every_function_answers_it_or_refuses(connection: Connection) -> None:
    assert _names(connection, f"SELECT proname {OWN_FUNCTIONS}") == ANSWERING.keys() | CHANGING.keys() | TRIGGERS
    for call in ANSWERING.values():
        assert connection.execute(f"SELECT * FROM {call}".encode()).fetchall(), call
    for call in CHANGING.values():
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT {call}".encode())


def test_it_changes_nothing(connection: Connection) -> None:
    tables = _names(connection, f"{RELATIONS} AND relkind IN ('r', 'p')")
    statements = [f'DELETE FROM "{name}" WHERE false' for name in tables]
    statements += [f'INSERT INTO "{name}" DEFAULT VALUES' for name in tables]
    statements += [f'TRUNCATE "{name}"' for name in tables]
    statements += [
        "UPDATE image SET uri = uri WHERE false",
        "UPDATE embedding_e SET v = v WHERE false",
        "SELECT * FROM image FOR UPDATE",
        "CREATE TABLE medcbir.mine (x int)",
        "CREATE FUNCTION medcbir.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP VIEW hit",
        "DROP SCHEMA medcbir CASCADE",
    ]
    for statement in statements:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_functions_lend_no_rights_and_keep_to_their_search_path(connection: Connection) -> None:
    rows = connection.execute(f"SELECT proname, prosecdef, proconfig::text {OWN_FUNCTIONS}".encode()).fetchall()
    for name, lends_rights, settings in rows:
        assert not lends_rights, name
        assert "search_path=medcbir, " in settings, name
        assert settings.count("pg_temp") == 1, name


@pytest.mark.parametrize("read_only", ["off", "on"])
def test_commands_that_read_serve_it(clinic: str, tmp_path: Path, read_only: str) -> None:
    options = f"{conninfo_to_dict(clinic)['options']} -c default_transaction_read_only={read_only}"  # as on a replica
    with medcbir.connect(make_conninfo(clinic, options=options), data_dir=tmp_path / "own") as db:
        searched = [db.search(image_id=1, encoder="e", n=4) for _ in range(2)]
        db.warm("e")
        assert db.search(image_id=1, encoder="e", n=4) == searched[0] == searched[1]
        assert db.evaluate("before", metric="all")
        assert db.compare(["before", "after"], n=[1]).queries == 15
        assert db.leakage("before", n=[1]).differences
        assert db.near_duplicates("before") is not None
        assert db.report(out=tmp_path / "report")
        if read_only == "off":
            with pytest.raises(DatabaseError, match=r"permission denied .* ask its administrator for the right"):
                db.retrieve(encoder="e", n=2)


def test_a_view_granted_alone_is_enough(db: medcbir.Database, clinic: str) -> None:
    role = f"auditor_{secrets.token_hex(4)}"
    with open_database(db.conninfo, install="never") as owner:
        owner.execute(
            f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA medcbir TO {role}; "
            f"GRANT SELECT ON evaluation TO {role}".encode()
        )
        try:
            owner.execute(f"SET ROLE {role}".encode())
            assert owner.execute("SELECT value FROM evaluation WHERE run_id = 1").fetchall()
            for name in ("image", "neighbour", "evaluation_query", "run_query_1"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    owner.execute(f"SELECT * FROM {name}".encode())
        finally:
            owner.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}".encode())
