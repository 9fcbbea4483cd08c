"""Large answers as numpy arrays: rows of fixed width by binary COPY."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcbir.store.connection import Connection
from medcbir.store.runs import array_fields
from medcbir.store.vectors import COPY_HEADER, COPY_TRAILER

Kind = Literal["integer", "bigint", "double precision"]
_WIDTHS: dict[Kind, tuple[int, str]] = {"integer": (4, ">i4"), "bigint": (8, ">i8"), "double precision": (8, ">f8")}


def copy_columns(
    connection: Connection,
    select: str,
    arguments: Mapping[str, Any],
    columns: Mapping[str, Kind],
    arrays: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, npt.NDArray[Any]]:
    """The answer of `select` as one array (rows,) per column, int64 or float64.

    `columns` names the SQL types that the select returns, in its order; none may be NULL. After them come `arrays` of
    double precision, each of so many elements in every row, which become (rows, elements) float64.
    """
    fields: list[tuple[Any, ...]] = [("fields", ">i2")]
    for name, kind in columns.items():
        fields += [(f"{name}_bytes", ">i4"), (name, _WIDTHS[kind][1])]
    for name, elements in arrays.items():
        fields += array_fields(name, ">f8", elements)
    with connection.cursor() as cursor, cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT binary)", arguments) as copy:
        answer = b"".join(copy)
    rows = np.frombuffer(memoryview(answer)[len(COPY_HEADER) : -len(COPY_TRAILER)], dtype=np.dtype(fields))
    return {
        name: rows[name].astype(np.float64 if kind == "double precision" else np.int64)
        for name, kind in columns.items()
    } | {name: rows[name]["value"].astype(np.float64) for name in arrays}
