"""The database itself: start, stop, upgrade, status."""

from typing import Any

from medcbir.api.session import Session, database_errors
from medcbir.errors import DatabaseError
from medcbir.store import schema
from medcbir.store.connection import describe, open_bare
from medcbir.store.embedded import EmbeddedServer
from medcbir.store.sqlfiles import query as read_query


class Administration(Session):
    """The server and its schema."""

    def start(self) -> None:
        """Start the embedded server, and install or upgrade its schema; an external one is only checked."""
        with self._open():
            pass

    def stop(self) -> bool:
        """Stop the embedded server; False if it was not running. `DatabaseError` for an external one."""
        self._require_embedded("stopped")
        self.close()
        return EmbeddedServer(self.settings.data_dir).stop()

    def upgrade(self, revision: str = "head") -> tuple[str | None, str | None]:
        """Install schema `medcbir`, bring it up to date, or take it to a revision ('base' drops all of it).

        Returns the revisions before and after.
        """
        self.close()
        with database_errors(self.conninfo), open_bare(self.conninfo) as connection:
            before = schema.current_revision(connection)
            if revision != "head" and before is not None and (revision == "base" or revision < before):
                schema.downgrade(self.conninfo, revision)
            else:
                schema.upgrade(self.conninfo, revision)
            return before, schema.current_revision(connection)

    def status(self) -> dict[str, Any]:
        """Which database is in use, whether it runs, its versions and what it holds; starts and changes nothing."""
        external = self.settings.conninfo
        found: dict[str, Any] = {"database": "embedded" if external is None else describe(external)}
        conninfo = external
        if external is None:
            server = EmbeddedServer(self.settings.data_dir).status()
            found |= {"data_dir": str(self.settings.data_dir), "running": server.running, "pid": server.pid}
            conninfo = server.conninfo if server.running else None
        if conninfo is None:
            return found
        with database_errors(conninfo), open_bare(conninfo) as connection:
            found |= {
                "running": True,
                "postgresql": connection.info.parameter_status("server_version"),
                "pgvector": schema.pgvector_version(connection),
                "revision": schema.current_revision(connection),
                "revision_wanted": schema.newest_revision(),
            }
            if found["revision"] == found["revision_wanted"]:
                row = connection.execute(read_query("catalogue_size")).fetchone()
                found |= dict(zip(("images", "encoders", "runs", "rejected"), row or (), strict=True))
        return found

    def _require_embedded(self, what: str) -> None:
        if self.settings.conninfo is not None:
            raise DatabaseError(
                f"{describe(self.settings.conninfo)} is not medcbir's own server: it is not {what} here"
            )
