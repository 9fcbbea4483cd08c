"""PostgreSQL's COPY BINARY and numpy: what a stream begins and ends with, arrays in it, and large answers by it.

Everything is big-endian: a field is its length and its bytes, a tuple the number of its fields and these.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from psycopg import sql

from medcbir.store.connection import Connection

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

Kind = Literal["integer", "bigint", "double precision"]
_ELEMENTS: dict[Kind, str] = {"integer": ">i4", "bigint": ">i8", "double precision": ">f8"}
_FIELDS, _LENGTH, _ARRAY_HEAD = 2, 4, 20
"""Bytes of a tuple's number of fields, of a field's length, and of an array before its elements."""


def array_fields(name: str, element: str, k: int) -> list[tuple[Any, ...]]:
    """Binary form of a one-dimensional array of k elements: dimensions, no-NULL flag, type, length, lower bound."""
    head: list[tuple[Any, ...]] = [(f"{name}_bytes", ">i4"), (f"{name}_ndim", ">i4"), (f"{name}_flags", ">i4")]
    head.append((f"{name}_oid", ">i4"))
    if k:
        head += [(f"{name}_length", ">i4"), (f"{name}_lower", ">i4")]
        head.append((name, [("bytes", ">i4"), ("value", element)], (k,)))
    return head


def copy_columns(
    connection: Connection, select: sql.Composable, arguments: Mapping[str, Any], columns: Mapping[str, Kind]
) -> dict[str, npt.NDArray[Any]]:
    """The answer of `select`, in its order, as one array (rows,) per column, int64 or float64.

    `columns` names the SQL types that the select returns, in its order; none may be NULL. The server gathers each
    column in an array, since a client takes longer to receive a row (some microseconds) than the server to make it.
    """
    names = [sql.Identifier(name) for name in columns]
    arrays = sql.SQL(", ").join(sql.SQL("array_agg({})").format(name) for name in names)
    gathered = sql.SQL("SELECT {} FROM ({}) AS answer ({})").format(arrays, select, sql.SQL(", ").join(names))
    answer = _copied(connection, gathered, arguments)
    at = _FIELDS
    found = {}
    for name, kind in columns.items():
        size = int.from_bytes(answer[at : at + _LENGTH], signed=True)
        at += _LENGTH
        items = answer[at + _ARRAY_HEAD : at + max(size, _ARRAY_HEAD)]  # without rows there is no array
        values = np.frombuffer(items, dtype=[("bytes", ">i4"), ("value", _ELEMENTS[kind])])["value"]
        found[name] = values.astype(np.float64 if kind == "double precision" else np.int64)
        at += max(size, 0)
    return found


def copy_arrays(
    connection: Connection, select: sql.Composable, arguments: Mapping[str, Any], elements: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The answer of `select`, bigint and double precision[] of so many elements: (rows,) and (rows, elements)."""
    row = np.dtype([("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i8"), *array_fields("values", ">f8", elements)])
    answer = _copied(connection, select, arguments)
    rows = np.frombuffer(answer[: -len(COPY_TRAILER)], dtype=row)
    return rows["id"].astype(np.int64), rows["values"]["value"].astype(np.float64)


def _copied(connection: Connection, select: sql.Composable, arguments: Mapping[str, Any]) -> memoryview:
    """The answer of `select` as it comes, without the header."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(select)
    with connection.cursor() as cursor, cursor.copy(statement, arguments) as copy:
        return memoryview(b"".join(copy))[len(COPY_HEADER) :]
