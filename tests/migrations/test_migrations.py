"""Up, down and up again is clean, the database is what the metadata says, and nothing outside the schema is touched."""

import subprocess
import sys

import psycopg
import pytest
from alembic import command
from psycopg import sql

from medcbir.errors import DatabaseError
from medcbir.store import schema
from medcbir.store.connection import open_bare, open_database
from medcbir.store.embedded import server_binaries


def _dump(conninfo: str) -> str:
    """The whole database's definition, without what a dump says of itself."""
    text = subprocess.run(
        [server_binaries() / "pg_dump", "--schema-only", "--no-comments", conninfo],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("--", "\\", "SET ")))


def test_up_down_up_is_clean(empty_database: str) -> None:
    schema.upgrade(empty_database)
    first = _dump(empty_database)
    schema.downgrade(empty_database)
    with open_bare(empty_database) as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'medcbir'::regnamespace AND relkind IN ('r', 'v', 'p')"
        ).fetchall()
        functions = connection.execute(
            "SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'medcbir'::regnamespace AND NOT EXISTS "
            "(SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')"
        ).fetchall()
    assert left == [("alembic_version",)]
    assert functions == []
    schema.upgrade(empty_database)
    assert _dump(empty_database) == first


def test_the_database_is_what_the_metadata_says(database_url: str) -> None:
    with open_database(database_url, install="never") as connection:  # partitions must not disturb the comparison
        connection.execute("SELECT add_encoder('e', 8, '{}', '\\x01')")
    with schema._alembic(database_url) as config:
        command.check(config)


def test_it_can_be_dropped_without_trace(empty_database: str) -> None:
    with open_bare(empty_database) as connection:
        connection.execute("CREATE TABLE hospital_case (case_id int PRIMARY KEY)")
        before = _dump(empty_database)
        schema.upgrade(empty_database)
        connection.execute("DROP SCHEMA medcbir CASCADE")
        assert _dump(empty_database) == before


def test_upgrades_at_the_same_moment_wait_for_each_other(empty_database: str) -> None:
    upgrade = [sys.executable, "-c", f"from medcbir.store import schema; schema.upgrade({empty_database!r})"]
    running = [subprocess.Popen(upgrade, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 3
    with open_bare(empty_database) as connection:
        assert schema.current_revision(connection) == schema.newest_revision()


def test_a_database_that_is_not_prepared_is_told(empty_database: str) -> None:
    with pytest.raises(DatabaseError, match="holds no schema medcbir: run `medcbir db upgrade`"):
        open_database(empty_database, install="never")
    open_database(empty_database, install="if_absent").close()
    with open_bare(empty_database) as connection:
        connection.execute("UPDATE medcbir.alembic_version SET version_num = '0000'")
        with pytest.raises(DatabaseError, match="is at revision 0000"):
            open_database(empty_database, install="if_absent")
        connection.execute("UPDATE medcbir.alembic_version SET version_num = '9999'")
        with pytest.raises(DatabaseError, match="upgrade the program"):
            open_database(empty_database, install="always")


def test_a_role_without_rights_is_told_what_to_ask_for(empty_database: str) -> None:
    role = "medcbir_visitor"
    with open_bare(empty_database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        try:
            with pytest.raises(DatabaseError, match="administrator"):
                schema.upgrade(
                    f"{empty_database}&options=-c%20role%3D{role}"
                    if "?" in empty_database
                    else f"{empty_database} options='-c role={role}'"
                )
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_it_works_beside_pgvector_in_another_schema(empty_database: str) -> None:
    with open_bare(empty_database) as connection:
        connection.execute('CREATE SCHEMA "my extensions"')
        connection.execute('CREATE EXTENSION vector SCHEMA "my extensions"')
    schema.upgrade(empty_database)
    with open_database(empty_database, install="never") as connection:
        connection.execute("SELECT add_encoder('e', 2, '{}', '\\x01')")
        connection.execute("INSERT INTO dataset (name) VALUES ('d')")
        connection.execute("INSERT INTO image (dataset_id, uri) SELECT 1, g::text FROM generate_series(1, 3) AS g")
        connection.execute("INSERT INTO embedding_e (image_id, v) VALUES (1, '[1,0]'), (2, '[0,1]'), (3, '[0.6,0.8]')")
    with psycopg.connect(empty_database) as plain:  # a user whose search path knows neither schema
        plain.execute("SET search_path = pg_catalog")
        rows = plain.execute("SELECT image_id FROM medcbir.similar_to(1, 'e', 2)").fetchall()
    assert rows == [(3,), (2,)]
