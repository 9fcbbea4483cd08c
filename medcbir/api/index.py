"""The approximate index of an encoder: build, drop, and how much of the exact answer it finds."""

from typing import TYPE_CHECKING

from medcbir.api.session import Session
from medcbir.encoders import DEFAULT
from medcbir.store.encoders import find_encoder

if TYPE_CHECKING:
    from medcbir.retrieval.hnsw import Recall


class ApproximateIndex(Session):
    """For SQL function `approximate_top_n` alone; no method answers from it."""

    def build_index(self, encoder: str = DEFAULT, *, m: int = 16, ef_construction: int = 64) -> float:
        """Make the encoder's approximate index, for SQL function `approximate_top_n` alone; the seconds it took."""
        from medcbir.retrieval import hnsw

        with self._open() as connection:
            return hnsw.build(connection, find_encoder(connection, encoder), m=m, ef_construction=ef_construction)

    def drop_index(self, encoder: str = DEFAULT) -> None:
        """Remove the encoder's approximate index."""
        from medcbir.retrieval import hnsw

        with self._open() as connection:
            hnsw.drop(connection, find_encoder(connection, encoder))

    def index_recall(
        self, encoder: str = DEFAULT, *, n: int = 10, queries: int = 100, ef_search: int = 100
    ) -> "Recall":
        """How much of the exact answer the approximate index finds, over stored images as queries."""
        from medcbir.retrieval import hnsw

        with self._open() as connection:
            stored = find_encoder(connection, encoder)
            return hnsw.recall(connection, stored, n=n, queries=queries, ef_search=ef_search)
