"""Alembic environment: one transaction, one lock, everything inside schema `medcbir` (the version table too)."""

from collections.abc import MutableMapping
from typing import Any

from alembic import context
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Connection, text

from medcbir.config import load_settings
from medcbir.store.connection import resolve
from medcbir.store.schema import SCHEMA, migration_engine, prepare_schema, vector_schema
from medcbir.store.tables import PARTITIONED, metadata

_UPGRADE_LOCK = 0x6D656463  # "medc": two upgrades of one database wait for each other


def _include_name(name: str | None, kind: str, parents: MutableMapping[Any, Any]) -> bool:
    """Leave everything outside schema `medcbir`, and the partitions that encoders and runs make, to their owners."""
    if kind == "schema":
        return name == SCHEMA
    if kind == "table" and name is not None:
        return not any(name.startswith(f"{parent}_") for parent in PARTITIONED)
    return True


def _include_object(obj: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
    """Alembic's own table is no part of the metadata."""
    return not (kind == "table" and name == "alembic_version")


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    prepare_schema(connection)
    connection.dialect.ischema_names[f"{vector_schema(connection)}.vector"] = VECTOR
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=_include_name,
        include_object=_include_object,
        compare_type=True,
        compare_server_default=True,
    )
    context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    with migration_engine(resolve(load_settings())).begin() as connection:
        _migrate(connection)
