"""Encoders that are given up: their vectors go at once, and the vectors of a newer recipe take their name."""

from dataclasses import dataclass

import psycopg

from medcbir.errors import EncoderError
from medcbir.store.claims import release_dead_claims
from medcbir.store.connection import Connection
from medcbir.store.encoders import find_encoder
from medcbir.store.sqlfiles import query


@dataclass(frozen=True, slots=True)
class Retirement:
    """What retiring `encoder` drops and what takes its place.

    `vectors` are dropped; `results`, the runs, classifications and the like made with them, stay. `successor` is the
    newest encoder of the same name with another recipe, or None: it gets the name. It has no vector yet of `missing`
    images, nor of `failed` ones that could not be encoded.
    """

    encoder: str
    vectors: int
    results: int
    successor: str | None
    missing: int
    failed: int


def plan_retirement(connection: Connection, name: str) -> Retirement:
    """What retiring the encoder called `name` would do.

    Raises `EncoderError` where it is unknown, is being encoded, or its successor is not complete yet.
    """
    encoder = find_encoder(connection, name)
    release_dead_claims(connection, encoder.encoder_id)
    row = connection.execute(query("retirement"), {"encoder_id": encoder.encoder_id}).fetchone()
    assert row is not None  # noqa: S101
    plan, workers = Retirement(name, *row[:-1]), row[-1]
    if workers:
        raise EncoderError(
            f"{plan.successor or name} is being encoded by {workers} processes: let them end, or stop them"
        )
    if plan.missing:
        raise EncoderError(
            f"{plan.successor}, which is to take the place of {name}, lacks the vectors of {plan.missing} images: let "
            f"`medcbir encode --encoder {name}` finish, or give it up with `medcbir encoders retire {plan.successor}`"
        )
    return plan


def retire(connection: Connection, name: str) -> Retirement:
    """Drop the vectors of the encoder called `name`; where it has a successor, that one is called `name` from then on.

    Both happen in one transaction. Raises `EncoderError` as `plan_retirement` does, where a view of the user's own
    shows its vectors, and where someone goes on reading them.
    """
    plan = plan_retirement(connection, name)
    try:
        with connection.transaction():
            connection.execute("SELECT retire_encoder(%s)", (name,))
            if plan.successor is not None:
                connection.execute("SELECT rename_encoder(%s, %s)", (plan.successor, name))
    except psycopg.errors.DependentObjectsStillExist as error:
        what = " ".join((error.diag.message_detail or "").split())
        raise EncoderError(f"{name} cannot be retired while image_vectors is used ({what}): drop that first") from None
    except psycopg.errors.LockNotAvailable:
        raise EncoderError(
            f"the vectors of {name} are being read: retire it once that search or run has ended"
        ) from None
    return plan
