"""The one place that reads SQL files: from the wheel (`medcbir/sql`) or from a checkout (`sql` beside the package)."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def packaged_folder(name: str) -> Path:
    """Where `sql` or `migrations` lies: inside the installed package, else beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


@cache
def read_sql(file: str) -> str:
    """Text of `sql/<file>`, for instance `views/hit_v01.sql`."""
    return (packaged_folder("sql") / file).read_text(encoding="utf-8")


def query(name: str) -> str:
    """The statement of `sql/queries/<name>.sql`, with psycopg's named placeholders."""
    return read_sql(f"queries/{name}.sql")
