"""Rows of `encoder`: found by name or recipe, added with their partition."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from medcbir.errors import EncoderError
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """An encoder that this database knows."""

    encoder_id: int
    name: str
    dim: int
    recipe_sha256: bytes
    imported: bool
    checkpoint_sha256: bytes | None


_COLUMNS = "encoder_id, name, dim, recipe_sha256, imported, checkpoint_sha256"


def _row(connection: Connection, condition: str, value: object, *, retired: bool = False) -> StoredEncoder | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM encoder WHERE {condition} = %s AND (%s OR retired_at IS NULL)",  # noqa: S608
        (value, retired),
    ).fetchone()
    return None if row is None else StoredEncoder(*row)


def encoder_names(connection: Connection) -> list[str]:
    """The names of all encoders that have vectors here."""
    rows = connection.execute("SELECT name FROM encoder WHERE retired_at IS NULL ORDER BY name").fetchall()
    return [row[0] for row in rows]


def encoder_of_recipe(connection: Connection, recipe: Mapping[str, Any], recipe_sha256: bytes) -> StoredEncoder | None:
    """The encoder of this recipe, whatever its own name is and that of the checkpoint's file was."""
    wanted = {"recipe": Jsonb(dict(recipe)), "recipe_sha256": recipe_sha256}
    row = connection.execute(query("encoder_of_recipe"), wanted).fetchone()
    return None if row is None else find_encoder(connection, row[0])


def find_encoder(connection: Connection, name: str, *, retired: bool = False) -> StoredEncoder:
    """The encoder of this name, with `retired` also one whose runs alone are left; `EncoderError` lists those there."""
    found = _row(connection, "name", name, retired=retired)
    if found is None:
        names = encoder_names(connection)
        have = f"it has {', '.join(names)}" if names else "it has none yet"
        raise EncoderError(
            f"no vectors of encoder {name!r} in this database ({have}): run `medcbir encode --encoder {name}` or "
            "`medcbir vectors import`"
        )
    return found


def add_encoder(
    connection: Connection,
    name: str,
    dim: int,
    recipe: Mapping[str, Any],
    recipe_sha256: bytes,
    *,
    checkpoint_sha256: bytes | None,
    versions: Mapping[str, str],
) -> StoredEncoder:
    """The encoder of this recipe, added if it is new.

    A recipe that differs from the one stored under `name` (another checkpoint, another image size) is another encoder:
    it is stored as `name_xxxxxxxx`, after the first digits of its recipe's digest. The same checkpoint under another
    file name is no other recipe.
    """
    known = encoder_of_recipe(connection, recipe, recipe_sha256)
    if known is not None:
        return known
    if _row(connection, "name", name) is not None:
        name = f"{name}_{recipe_sha256.hex()[:8]}"
    connection.execute(
        "SELECT add_encoder(%s, %s, %s, %s, %s, %s)",
        (name, dim, Jsonb(dict(recipe)), recipe_sha256, checkpoint_sha256, Jsonb(dict(versions))),
    )
    return find_encoder(connection, name)


def add_versions(connection: Connection, encoder: StoredEncoder, versions: Mapping[str, str]) -> None:
    """Record what made vectors of the encoder beside what is recorded; that stays as it was first."""
    connection.execute(query("add_versions"), {"encoder_id": encoder.encoder_id, "versions": Jsonb(dict(versions))})


def add_imported_encoder(connection: Connection, name: str, dim: int) -> StoredEncoder:
    """The encoder of this name, added as one whose vectors were made elsewhere if it is new.

    Raises `EncoderError` when vectors of another dimension are stored under the name.
    """
    known = _row(connection, "name", name)
    if known is None:
        recipe = {"imported": name, "dim": dim}
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).digest()
        try:
            connection.execute(
                "SELECT add_encoder(%s, %s, %s, %s, is_imported => true)", (name, dim, Jsonb(recipe), digest)
            )
        except psycopg.errors.CheckViolation:
            raise EncoderError(
                f"cannot store vectors of {dim} dimensions as encoder {name!r}: a name is a letter and up to 49 more "
                "letters, digits, '_', '.' or '-', and pgvector holds 1 to 16,000 dimensions"
            ) from None
        except psycopg.errors.InvalidParameterValue as error:
            raise EncoderError(str(error.diag.message_primary)) from None
        known = find_encoder(connection, name)
    if known.dim != dim:
        raise EncoderError(f"encoder {name} has {known.dim} dimensions, these vectors have {dim}")
    return known
