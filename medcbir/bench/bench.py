"""What every step of a benchmark works with, and what tells whether a step's inputs have changed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from psycopg.rows import namedtuple_row

from medcbir.api import Database
from medcbir.bench.suites import COVID, Suite
from medcbir.encoders import find_spec
from medcbir.errors import EncoderError
from medcbir.retrieval.cache import vectors_version
from medcbir.store import schema
from medcbir.store.connection import Connection, open_database
from medcbir.store.encoders import StoredEncoder, find_encoder
from medcbir.store.sqlfiles import query
from medcbir.types import Filter, Split


@dataclass
class Bench:
    """A suite on a database, over the images of `datasets`; files go to `out`. `command` is what repeats it.

    `brings` is how many images a suite with images of its own has of each split.
    """

    db: Database
    out: Path
    suite: Suite
    datasets: list[str]
    scale: float = 1.0
    command: str = ""
    brings: Mapping[Split, int] = field(default_factory=dict)
    _catalogues: dict[str, str] = field(default_factory=dict)

    @cached_property
    def program(self) -> dict[str, str]:
        """What any outcome depends on: the program's version and that of its views."""
        return {"medcbir": version("medcbir"), "schema": schema.newest_revision(), "suite": self.suite.name}

    def images(self, split: Split) -> Filter:
        """Those of the benchmark's datasets in one split."""
        return Filter(datasets=self.datasets, split=split)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of its own."""
        self.db.start()
        with open_database(self.db.conninfo, install="never") as connection:
            yield connection

    def rows(self, name: str, /, **values: Any) -> list[Any]:
        """Rows of `sql/queries/<name>.sql`, with their columns as attributes."""
        with self.connection() as connection, connection.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(query(name), values).fetchall()

    def to_encode(self, encoder: str) -> int:
        """How many images lack a vector of the encoder, for an estimate; 0 where no database can be asked yet."""
        among = {*self.datasets, COVID}
        counts = [each for each in self._counts() if each.dataset in among]
        covered = [each for each in self.rows("coverage", encoder=encoder) if each.dataset in among] if counts else []
        return sum(each.missing + each.stale for each in covered) if covered else sum(each.with_file for each in counts)

    def labelled(self, split: Split) -> int:
        """Images of the benchmark in one split, for an estimate: of those that are there, or else will be."""
        there = sum(each.images for each in self._counts() if each.dataset in self.datasets and each.split == split)
        return there or self.brings.get(split, 0)

    def dim(self, encoder: str) -> int:
        """Numbers in a vector of the encoder, for an estimate; 512 where nobody knows yet."""
        stored = self.encoder(encoder) if self._installed() else None
        known = stored or find_spec(encoder, self.db.settings.encoders_dir)
        return 512 if known is None else known.dim

    def _counts(self) -> list[Any]:
        return self.rows("labelled_counts") if self._installed() else []

    def _installed(self) -> bool:
        """Whether a database can be asked already."""
        return bool(self.db.status().get("revision"))

    def catalogue(self, *datasets: str) -> str:
        """A digest of what the catalogue says of the images of these datasets, of the benchmark's without any."""
        among = list(datasets) or self.datasets
        if (key := repr(among)) not in self._catalogues:
            self._catalogues[key] = str(self.rows("catalogue_version", datasets=among)[0].version)
        return self._catalogues[key]

    def catalogue_changed(self) -> None:
        """What has been read of the catalogue holds no longer."""
        self._catalogues.clear()

    def encoder(self, name: str) -> StoredEncoder | None:
        """The encoder that vectors are stored under."""
        with self.connection() as connection:
            try:
                return find_encoder(connection, name)
            except EncoderError:
                return None

    def vectors(self, name: str) -> dict[str, str]:
        """What tells an encoder's vectors from any others: its recipe and the log of their changes."""
        with self.connection() as connection:
            stored = find_encoder(connection, name)
            now = vectors_version(connection, stored)
        return {"recipe": stored.recipe_sha256.hex(), "database": now.database, "vectors": now.version}
