"""What the methods of every file here stand on: settings, the connection, rows, a server's errors in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, Self

import psycopg
from psycopg.rows import dict_row

from medcbir.config import Settings
from medcbir.errors import DatabaseError
from medcbir.store.connection import Connection, describe, open_database, resolve, without_password
from medcbir.store.sqlfiles import query as read_query


class Session:
    """The settings and one connection, opened on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; an embedded server goes on running (`medcbir db stop` ends it)."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @cached_property
    def conninfo(self) -> str:
        """libpq connection string; asking for it starts the embedded server where that serves."""
        return resolve(self.settings)

    @property
    def public_url(self) -> str:
        """The connection string without a password, to be shown or logged."""
        return without_password(self.conninfo)

    def query(self, sql: str, arguments: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of the caller's statement; names resolve in schema `medcbir`, values are bound (`%(name)s`)."""
        with self._open() as connection:
            return connection.execute(sql, arguments).fetchall()

    def _rows(self, name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        with self._open() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(read_query(name), arguments).fetchall()

    def _another(self) -> Connection:
        """One more connection, for what goes on beside."""
        return open_database(self.conninfo, install="never")

    @contextmanager
    def _open(self, *, may_install: bool = False) -> Iterator[Connection]:
        """The connection, opened on first use; a server that goes away is told as a `DatabaseError`."""
        if self._connection is None or self._connection.closed:
            embedded = self.settings.conninfo is None
            install: Literal["always", "if_absent", "never"] = (
                "always" if embedded else "if_absent" if may_install else "never"
            )
            with database_errors(self.conninfo):
                self._connection = open_database(self.conninfo, install=install)
        with database_errors(self.conninfo):
            yield self._connection


@contextmanager
def database_errors(conninfo: str) -> Iterator[None]:
    """What a server answers to anyone's good statement (it stopped, it is full, it forbids), as a `DatabaseError`."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{describe(conninfo)}: {error.diag.message_primary}; ask its administrator for the right"
        ) from None
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"{describe(conninfo)}: {str(error).strip().splitlines()[0]}; once it is back, the same command goes on"
        ) from None
