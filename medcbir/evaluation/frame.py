"""Typed rows as a data frame, where pandas or polars is installed."""

import importlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from medcbir.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def frame(rows: "Sequence[DataclassInstance]", library: Literal["pandas", "polars"] | None = None) -> Any:
    """A DataFrame with a row for each of `rows` (metrics, hits, duplicates) and a column for each of their fields.

    Of pandas, else of polars, whichever is installed, or of the one named. Raises `InputError` where it is missing.
    """
    for name in [library] if library else ["pandas", "polars"]:
        try:
            return importlib.import_module(name).DataFrame([asdict(row) for row in rows])
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    wanted = library or "pandas (or polars)"
    raise InputError(f"a data frame needs {wanted}: pip install {library or 'pandas'}")
