"""Schema `medcbir`: what must be there before it, and its way up and down by Alembic."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from medcbir.errors import DatabaseError
from medcbir.store.sqlfiles import packaged_folder, read_sql

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

SCHEMA = "medcbir"
_OLDEST_SERVER = 15
_OLDEST_PGVECTOR = (0, 7)
_VECTOR_SCHEMA = (
    "SELECT n.nspname, e.extversion FROM pg_catalog.pg_extension AS e "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
)


def migration_engine(conninfo: str) -> "Engine":
    """SQLAlchemy engine for Alembic."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(conninfo, application_name="medcbir", client_encoding="UTF8")
        connection.execute("SET search_path = pg_catalog")  # a role named medcbir would else have the schema as default
        connection.commit()
        return connection

    return create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)


def prepare_schema(connection: "Connection") -> None:
    """Create schema `medcbir`, and pgvector inside it where the database has none.

    Raises `DatabaseError` when the server or pgvector is too old, pgvector is not installed on the server, or the role
    may not create what is missing.
    """
    version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    if version < _OLDEST_SERVER * 10_000:
        raise DatabaseError(f"PostgreSQL {version // 10_000} is too old: medcbir needs {_OLDEST_SERVER} or newer")
    try:
        if not connection.exec_driver_sql("SELECT to_regnamespace('medcbir') IS NOT NULL").scalar_one():
            connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        found = connection.exec_driver_sql(_VECTOR_SCHEMA).one_or_none()
        if found is None:
            offered = "SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'vector'"
            if not connection.exec_driver_sql(offered).scalar_one():
                raise DatabaseError(
                    "the database server has no pgvector: install it there (package postgresql-<version>-pgvector, or "
                    "the image pgvector/pgvector), then run `medcbir db upgrade`"
                )
            connection.exec_driver_sql(f"CREATE EXTENSION vector SCHEMA {SCHEMA}")
            found = connection.exec_driver_sql(_VECTOR_SCHEMA).one()
    except Exception as error:
        if isinstance(getattr(error, "orig", None), psycopg.errors.InsufficientPrivilege):
            reason = str(error.orig).splitlines()[0]  # type: ignore[attr-defined]
            raise DatabaseError(
                f"{reason}: have an administrator run `CREATE SCHEMA {SCHEMA} AUTHORIZATION <this role>` and "
                "`CREATE EXTENSION vector`, then `medcbir db upgrade`"
            ) from None
        raise
    if tuple(int(part) for part in found.extversion.split(".")[:2]) < _OLDEST_PGVECTOR:
        raise DatabaseError(
            f"pgvector {found.extversion} is too old: medcbir needs 0.7; run ALTER EXTENSION vector UPDATE"
        )


def vector_schema(connection: "Connection") -> str:
    """The schema that holds pgvector, quoted as SQL needs it."""
    name = connection.exec_driver_sql(_VECTOR_SCHEMA).one().nspname
    return connection.dialect.identifier_preparer.quote(name)


def use_schema(op: Any) -> None:
    """Within a migration: let unqualified names mean schema `medcbir` and pgvector's, whatever the role's path is."""
    bind = op.get_bind()
    bind.exec_driver_sql(f"SET LOCAL search_path = {SCHEMA}, {vector_schema(bind)}, pg_catalog, pg_temp")


def install(op: Any, file: str) -> None:
    """Within a migration: create the SQL object that `sql/<file>` defines."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(read_sql(file))


def replace(op: Any, file: str) -> None:
    """Within a migration: put the view that `sql/<file>` defines in the place of another version of it.

    It has the same columns, and perhaps further ones after them; what is built on the view stays.
    """
    statement = read_sql(file).replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statement)


def drop(op: Any, file: str) -> None:
    """Within a migration: drop the view or function that `sql/<file>` defines."""
    kind, name = re.fullmatch(r"(view|function)s/(\w+)_v\d+\.sql", file).groups()  # type: ignore[union-attr]
    op.get_bind().exec_driver_sql(f"DROP {kind} {name}")


@contextmanager
def _alembic(conninfo: str) -> Iterator["Config"]:
    from alembic.config import Config
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", str(packaged_folder("migrations")).replace("%", "%%"))
    try:
        with migration_engine(conninfo).begin() as connection:
            config.attributes["connection"] = connection
            yield config
    except DBAPIError as error:  # callers know the driver's errors alone
        raise error.orig or error from None


def upgrade(conninfo: str, revision: str = "head") -> None:
    """Bring schema `medcbir` to `revision`, in one transaction; concurrent upgrades wait for each other."""
    from alembic import command

    with _alembic(conninfo) as config:
        command.upgrade(config, revision)


def downgrade(conninfo: str, revision: str = "base") -> None:
    """Take schema `medcbir` back to `revision`; 'base' drops all tables with their rows."""
    from alembic import command

    with _alembic(conninfo) as config:
        command.downgrade(config, revision)


def newest_revision() -> str:
    """The revision that this version of medcbir works with, read from the migrations' file names."""
    return max(file.name.split("_")[0] for file in (packaged_folder("migrations") / "versions").glob("[0-9]*.py"))


def current_revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision that the database holds; None when medcbir is not installed there."""
    found = connection.execute("SELECT to_regclass('medcbir.alembic_version') IS NOT NULL").fetchone()
    if not found or not found[0]:
        return None
    row = connection.execute("SELECT version_num FROM medcbir.alembic_version").fetchone()
    return None if row is None else str(row[0])


def pgvector_version(connection: psycopg.Connection[Any]) -> str | None:
    """The version of pgvector in the database, None where it is not installed there."""
    row = connection.execute(_VECTOR_SCHEMA).fetchone()
    return None if row is None else str(row[1])
