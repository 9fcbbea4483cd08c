"""The one place that opens a connection."""

import re
from typing import Any, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from medcbir.config import Settings
from medcbir.errors import DatabaseError
from medcbir.store import schema
from medcbir.store.embedded import EmbeddedServer

Connection = psycopg.Connection[Any]

_SESSION = """
SELECT set_config('search_path', concat_ws(', ', 'medcbir', quote_ident(n.nspname), 'pg_catalog', 'pg_temp'), false)
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'vector'
"""


def resolve(settings: Settings) -> str:
    """Connection string of the database in use; starts the embedded server where no external one is named."""
    external = settings.conninfo
    return EmbeddedServer(settings.data_dir).start() if external is None else external


def describe(conninfo: str) -> str:
    """The database's name and place without user or password, for messages."""
    try:
        parts = _parts(conninfo)
    except DatabaseError:
        return "the database"
    shown = {name: parts[name] for name in ("service", "host", "port", "dbname") if parts.get(name)}
    return make_conninfo(**shown) or "the database of libpq's variables"


def without_password(conninfo: str) -> str:
    """The connection string as it may be shown; a password is left to PGPASSWORD or a password file."""
    parts = _parts(conninfo)
    public = {name: value for name, value in parts.items() if name not in ("password", "sslpassword")}
    return conninfo if public == parts else make_conninfo(**public)


def _parts(conninfo: str) -> dict[str, str]:
    """The parts of a connection string, which are what their names say.

    Raises `DatabaseError` for others, and for a URL whose password holds an unescaped `@` or `/`: libpq would read a
    piece of it as the host, the port or the database, and say so.
    """
    scheme, is_url, rest = conninfo.partition("://")
    authority, _, further = re.sub("[/?]", "\0", rest, count=1).partition("\0")
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    except (psycopg.ProgrammingError, UnicodeError):
        parts = {"port": "unknown"}
    whole = parts.get("port", "").replace(",", "").isdecimal() or not parts.get("port")
    if not whole or (is_url and scheme.startswith("postgres") and ("@" in further or authority.count("@") > 1)):
        raise DatabaseError(
            "the database URL cannot be read: expected postgresql://user@host:port/database, with special characters "
            "of a password as %XX, or key=value pairs"
        )
    return parts


def open_bare(conninfo: str) -> Connection:
    """A plain autocommit connection, whatever the database holds; raises `DatabaseError` in one line."""
    _parts(conninfo)
    try:
        return psycopg.connect(
            conninfo, autocommit=True, application_name="medcbir", connect_timeout=10, client_encoding="UTF8"
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise DatabaseError(
            f"cannot connect to {describe(conninfo)}: {reason}; check that it runs and accepts you "
            "(`medcbir db status`), or correct --database-url"
        ) from None


def open_database(conninfo: str, *, install: Literal["never", "if_absent", "always"]) -> Connection:
    """A connection whose names resolve in schema `medcbir`, which is at this version's revision.

    `install` says whether a database may be changed for that: 'never'; 'if_absent', to give medcbir to a database that
    lacks it; 'always', to upgrade an older one too.
    """
    connection = open_bare(conninfo)
    try:
        found, wanted = schema.current_revision(connection), schema.newest_revision()
        if found is not None and found > wanted:
            raise DatabaseError(
                f"schema medcbir in {describe(conninfo)} is at revision {found}, newer than this medcbir ({wanted}): "
                "upgrade the program"
            )
        if found != wanted:
            if install == "never" or (install == "if_absent" and found is not None):
                state = "holds no schema medcbir" if found is None else f"is at revision {found}, not {wanted}"
                raise DatabaseError(f"{describe(conninfo)} {state}: run `medcbir db upgrade`")
            schema.upgrade(conninfo)
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: Connection) -> None:
    from pgvector.psycopg import register_vector

    if connection.execute(_SESSION).fetchone() is None:
        raise DatabaseError("extension vector has been dropped from the database: run `medcbir db upgrade`")
    register_vector(connection)
