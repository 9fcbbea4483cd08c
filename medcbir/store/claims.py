"""Which images a process encodes: those without a vector that no other living process has claimed."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from medcbir.interrupts import held_back
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query

_LOCK_CLASS = 0x6D656463


@dataclass(frozen=True, slots=True)
class Claimed:
    """An image to be encoded, and the digest of the pixels that its vector must be of."""

    image_id: int
    dataset: str
    uri: str
    frame: int
    path: str
    pixel_sha256: bytes | None


class Claims:
    """This process's claims on images: taken in batches, released by writing, void when the process is gone.

    The connection holds an advisory lock for as long as it lives, by which others know that the claims are good.
    """

    def __init__(self, connection: Connection, encoder_id: int, dataset: str | None, size: int) -> None:
        self._connection = connection
        self._encoder_id = encoder_id
        self._dataset = dataset
        self._size = size
        self.worker = secrets.randbelow(2**31)
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (_LOCK_CLASS, self.worker))

    def take(self) -> Iterator[list[Claimed]]:
        """Batches of claimed images until none is left that a living worker does not have."""
        after, found_since_start = -1, False
        while True:
            with held_back():  # Ctrl-C within a statement can leave the connection unfit for `release`
                if after < 0:  # look for what others have left behind
                    release_dead_claims(self._connection, self._encoder_id)
                rows = self._connection.execute(
                    query("claim_images"),
                    {
                        "after": after,
                        "dataset": self._dataset,
                        "encoder_id": self._encoder_id,
                        "worker": self.worker,
                        "size": self._size,
                    },
                ).fetchall()
            if rows:
                yield [Claimed(*row) for row in rows]
                after, found_since_start = rows[-1][0], True
            elif found_since_start:  # look once more from the start
                after, found_since_start = -1, False
            else:
                return

    def release(self) -> None:
        """Give back what is still claimed."""
        self._connection.execute(
            "DELETE FROM encode_claim WHERE encoder_id = %s AND worker = %s", (self._encoder_id, self.worker)
        )


def release_dead_claims(connection: Connection, encoder_id: int) -> None:
    """Remove the claims of processes that are gone."""
    connection.execute(query("release_dead_claims"), {"encoder_id": encoder_id, "lock_class": _LOCK_CLASS})
