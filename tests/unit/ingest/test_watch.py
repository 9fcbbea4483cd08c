"""When a watch goes on, and when it ends."""

from collections.abc import Callable
from itertools import islice

import pytest

from medcbir.errors import DatabaseError, InputError, MedcbirError, SourceAwayError
from medcbir.ingest.watch import watch
from medcbir.types import IngestReport

NOTHING = IngestReport(0, 0, 0, 0, 0, 0.0)
INTERRUPTED = IngestReport(0, 0, 0, 0, 0, 0.0, interrupted=True)


def looks(*outcomes: IngestReport | MedcbirError) -> Callable[[], IngestReport]:
    left = iter(outcomes)

    def look() -> IngestReport:
        outcome = next(left)
        if isinstance(outcome, MedcbirError):
            raise outcome
        return outcome

    return look


def test_a_server_that_is_away_is_waited_for_from_the_start() -> None:
    away = SourceAwayError("away")
    assert list(islice(watch(looks(away, away, NOTHING), 0.0), 3)) == [away, away, NOTHING]


def test_a_mistake_is_raised_by_the_first_look_only() -> None:
    with pytest.raises(InputError):
        next(watch(looks(InputError("wrong path")), 0.0))
    down = DatabaseError("down")
    assert list(islice(watch(looks(NOTHING, down, NOTHING), 0.0), 3)) == [NOTHING, down, NOTHING]


def test_an_interrupted_look_is_the_last() -> None:
    assert list(watch(looks(NOTHING, INTERRUPTED), 0.0)) == [NOTHING, INTERRUPTED]
