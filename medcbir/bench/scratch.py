"""Databases of a speed study's own, which hold nothing but vectors to be retrieved."""

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from medcbir.api import Database, connect
from medcbir.bench.clusters import Clusters
from medcbir.errors import DatabaseError
from medcbir.store.connection import open_bare, open_database
from medcbir.store.vectors import copy_in

ENCODER = "bench"


@contextmanager
def scratch(database: Database, folder: Path) -> Iterator[Database]:
    """A new database on the server of `database`, dropped at the end; copies of its vectors are kept in `folder`.

    Its name follows from the folder, so that one that a killed process has left behind makes room. Raises
    `DatabaseError` where the role may not create databases.
    """
    place = f"{platform.node()}:{folder.resolve()}"
    name = f"medcbir_bench_{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with open_bare(database.conninfo) as server:
        try:
            server.execute(drop)
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise DatabaseError(
                "speed studies need a role that may create databases: ask for CREATEDB, or leave --database-url out"
            ) from None
        try:
            url = make_conninfo(database.conninfo, dbname=name)
            with connect(url, data_dir=folder / "scratch") as own:
                own.upgrade()
                yield own
        finally:
            server.execute(drop)
            for copy in (folder / "scratch" / "cache").glob(f"{ENCODER}-*"):
                copy.unlink()


def fill(database: Database, images: int, dim: int, queries: int) -> None:
    """Add queries (split test, image_id from 1 on) where there are none, and index images until there are `images`."""
    with open_database(database.conninfo, install="never") as connection:
        row = connection.execute("SELECT count(*) FROM image").fetchone()
        assert row is not None  # noqa: S101
        there = int(row[0])
        if not there:
            connection.execute("INSERT INTO dataset (name) VALUES ('benchmark')")
            connection.execute("SELECT add_encoder(%s, %s, '{}', '\\x01', is_imported => true)", (ENCODER, dim))
        connection.execute(
            "INSERT INTO image (dataset_id, uri, split) SELECT 1, g::text, "
            "CASE WHEN g <= %(queries)s THEN 'test' ELSE 'train' END "
            "FROM generate_series(%(first)s::integer, %(last)s) AS g",
            {"queries": queries, "first": there + 1, "last": queries + images},
        )
        for first, vectors in Clusters(dim).chunks(there, queries + images):
            copy_in(connection, ENCODER, np.arange(first + 1, first + 1 + len(vectors)), vectors)
        connection.execute("VACUUM ANALYZE")
