"""Large answers as arrays: the values of the rows, in their order, whatever they are."""

from collections.abc import Iterator

import numpy as np
import pytest
from psycopg import sql

from medcbir.store.binary_copy import copy_arrays, copy_columns
from medcbir.store.connection import Connection, open_database


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with open_database(database_url, install="never") as opened:
        yield opened


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_columns_are_those_of_the_rows_in_their_order(connection: Connection, rows: int) -> None:
    select = (
        "SELECT (g - 5)::integer, g * 10000000000 - 7, sqrt(g) * 1e-300 FROM generate_series(1, %(rows)s) AS g "
        "ORDER BY hashint8(g), g"
    )
    found = copy_columns(
        connection,
        sql.SQL(select),
        {"rows": rows},
        {"small": "integer", "large": "bigint", "real": "double precision"},
    )
    expected = connection.execute(select.encode(), {"rows": rows}).fetchall()
    assert list(zip(*(found[name].tolist() for name in ("small", "large", "real")), strict=True)) == expected
    assert [found[name].dtype for name in found] == [np.int64, np.int64, np.float64]


def test_numbers_that_are_none_arrive(connection: Connection) -> None:
    select = sql.SQL("SELECT v FROM unnest('{NaN,-Infinity,Infinity,-0}'::double precision[]) AS v")
    found = copy_columns(connection, select, {}, {"v": "double precision"})["v"]
    np.testing.assert_array_equal(found, [np.nan, -np.inf, np.inf, 0.0])
    assert np.signbit(found[3])


@pytest.mark.parametrize("elements", [1, 3])
def test_arrays_are_those_of_the_rows(connection: Connection, elements: int) -> None:
    select = sql.SQL(
        "SELECT g::bigint, ARRAY(SELECT g + e / 4.0 FROM generate_series(1, %(e)s) AS e)::double precision[] "
        "FROM generate_series(1, 500) AS g ORDER BY g DESC"
    )
    ids, values = copy_arrays(connection, select, {"e": elements}, elements)
    assert ids.tolist() == list(range(500, 0, -1))
    np.testing.assert_array_equal(values, ids[:, None] + np.arange(1, elements + 1) / 4)
