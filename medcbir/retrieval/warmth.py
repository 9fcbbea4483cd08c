"""Which encoders are searched in memory, and how a search comes to be.

The first searches of an encoder are answered by SQL; one that is searched again and again is loaded by a thread beside.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from medcbir.errors import MedcbirError
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition
from medcbir.types import Filter, Hit

if TYPE_CHECKING:
    from medcbir.retrieval.warm_index import WarmIndex

_SLOW = 0.02  # seconds from which a search by SQL is worth replacing

Query = tuple[npt.NDArray[np.float32], dict[str, object]]
"""A vector (dim,), and what may not be found: `exclude_image`, `_patient`, `_study`, `_pixels`, or None."""


class Warmth:
    """The encoders that are searched in memory; a thread of its own loads one that is searched again and again."""

    def __init__(self, connect: Callable[[], Connection], folder: Path) -> None:
        """`connect` opens a connection for the thread; `folder` keeps copies of vectors."""
        self._connect, self._folder = connect, folder
        self._indexes: dict[int, WarmIndex] = {}
        self._searches: dict[int, int] = {}
        self._loading: threading.Thread | None = None
        self._connection: Connection | None = None
        self._closed = False

    def warm(self, encoder: StoredEncoder) -> None:
        """Search this encoder in memory from now on."""
        with self._connect() as connection:
            self._load(connection, encoder)

    def close(self) -> None:
        """Stop loading, and let go of the memory."""
        self._closed = True
        if self._loading is not None:
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=5)
            self._loading.join()
        self._indexes.clear()
        self._closed = False

    def searched_by_sql(self, encoder: StoredEncoder, seconds: float) -> None:
        """Note a search that took so long without this; the second one worth replacing starts the load."""
        if seconds > _SLOW and not self._closed:
            self._searches[encoder.encoder_id] = self._searches.get(encoder.encoder_id, 0) + 1
            if self._searches[encoder.encoder_id] > 1:
                self._load_beside(encoder)

    def near_vector(
        self,
        connection: Connection,
        encoder: StoredEncoder,
        vector: npt.NDArray[np.float32],
        n: int,
        where: Filter,
        *,
        exclude_pixels: bytes | None,
    ) -> list[Hit] | None:
        """What `search.near_vector` answers; None where that has to."""
        excluded: dict[str, object] = {
            "exclude_image": None,
            "exclude_patient": None,
            "exclude_study": None,
            "exclude_pixels": exclude_pixels,
        }
        return self._near(connection, encoder, n, where, lambda: (vector, excluded))

    def near_image(
        self,
        connection: Connection,
        encoder: StoredEncoder,
        image_id: int,
        n: int,
        where: Filter,
        *,
        exclude_same_patient: bool,
        exclude_same_study: bool,
        exclude_duplicates: bool,
    ) -> list[Hit] | None:
        """What `search.near_image` answers; None where that has to."""

        def find() -> Query | None:
            statement = sql.SQL(
                "SELECT b.v::real[], i.patient_id, i.study_uid, i.pixel_sha256 FROM {} AS b "
                "INNER JOIN image AS i ON i.image_id = b.image_id WHERE b.image_id = %s"
            ).format(partition(encoder.name))
            row = connection.execute(statement, (image_id,)).fetchone()
            if row is None:
                return None
            vector, patient, study, pixels = row
            return np.array(vector, np.float32), {
                "exclude_image": image_id,
                "exclude_patient": patient if exclude_same_patient else None,
                "exclude_study": study if exclude_same_study else None,
                "exclude_pixels": pixels if exclude_duplicates else None,
            }

        return self._near(connection, encoder, n, where, find)

    def _near(
        self,
        connection: Connection,
        encoder: StoredEncoder,
        n: int,
        where: Filter,
        find: Callable[[], Query | None],
    ) -> list[Hit] | None:
        index = self._indexes.get(encoder.encoder_id)
        if index is None:
            return None
        from medcbir.retrieval.warm_index import hits_of

        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            now = index.current(connection)
            if now is None or now.outgrown:
                self._load_beside(encoder)
            found = find()
            if now is None or found is None or len(now) == 0:
                return None
            self._indexes[encoder.encoder_id] = now
            vector, excluded = found
            most_pass = where == Filter() and all(
                excluded[name] is None for name in ("exclude_patient", "exclude_study", "exclude_pixels")
            )
            return hits_of(connection, now, vector, n, asdict(where) | excluded, n + 1 if most_pass else 8 * n + 32)

    def _load_beside(self, encoder: StoredEncoder) -> None:
        if self._closed or (self._loading is not None and self._loading.is_alive()):
            return

        def work() -> None:
            with suppress(MedcbirError, psycopg.Error), self._connect() as connection:  # SQL goes on answering
                self._connection = connection
                if not self._closed:
                    self._load(connection, encoder)

        self._loading = threading.Thread(target=work, name=f"load vectors of {encoder.name}", daemon=True)
        self._loading.start()

    def _load(self, connection: Connection, encoder: StoredEncoder) -> None:
        from medcbir.retrieval.warm_index import load

        with suppress(InsufficientPrivilege, ReadOnlySqlTransaction):  # who only reads leaves the log to others
            connection.execute(query("forget_old_changes"), {"encoder_id": encoder.encoder_id})
        self._indexes[encoder.encoder_id] = load(connection, encoder, self._folder)
