"""Named filters: SQL predicates on the columns of `image`, kept in the database."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from medcbir.api.session import Session
from medcbir.errors import InputError


class Filters(Session):
    """The named filters that `Filter(named=...)` takes."""

    def filters(self) -> dict[str, str]:
        """The named filters (`Filter(named=...)`) with their SQL predicates."""
        return dict(self.query("SELECT name, predicate FROM named_filter ORDER BY name"))

    def add_filter(self, name: str, predicate: str) -> None:
        """Define a named filter by an SQL expression on the columns of `image`; for an administrator of the schema."""
        with self._open() as connection, filter_errors():
            connection.execute("SELECT add_filter(%s, %s)", (name, predicate))

    def drop_filter(self, name: str) -> None:
        """Remove a named filter."""
        with self._open() as connection, filter_errors():
            connection.execute("SELECT drop_filter(%s)", (name,))


@contextmanager
def filter_errors() -> Iterator[None]:
    """What is wrong with a named filter, as an `InputError`."""
    try:
        yield
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise
        raise InputError(f"{error.diag.message_primary}: see `medcbir filters --help`") from None
