"""The database of a benchmark: the user's, or one in the benchmark's folder for images that are only its own."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcbir.api import Database, connect
from medcbir.bench.steps import alone
from medcbir.bench.suites import SuiteName
from medcbir.config import load_settings
from medcbir.errors import InputError
from medcbir.store.embedded import EmbeddedServer

_OWN: tuple[SuiteName, ...] = ("smoke", "speed", "scale")


@contextmanager
def open_for(
    suite: SuiteName, out: Path, database_url: str | None = None, data_dir: Path | None = None
) -> Iterator[Database]:
    """The database that is named, by argument or environment; else, but for suite paper, one in `out`.

    The server of that one is stopped at the end, unless another benchmark works in the same folder.
    """
    own = suite in _OWN and data_dir is None and load_settings(database_url=database_url).conninfo is None
    folder = out.resolve() / "database"
    with connect(database_url, folder if own else data_dir) as db:
        try:
            yield db
        finally:
            if own and EmbeddedServer(folder).status().running:
                with suppress(InputError), alone(out / "steps"):
                    db.stop()


@contextmanager
def own_database(out: Path) -> Iterator[Database]:
    """The one in `out`, whatever the environment names."""
    data_dir = out.resolve() / "database"
    with connect(EmbeddedServer(data_dir).start(), data_dir) as db:
        try:
            db.upgrade()
            yield db
        finally:
            db.close()
            EmbeddedServer(data_dir).stop()
