"""Looking again and again: what is new at a place, until the caller has had enough."""

import time
from collections.abc import Callable, Generator

from medcbir.errors import MedcbirError, SourceAwayError
from medcbir.types import IngestReport


def watch(look: Callable[[], IngestReport], every: float) -> Generator[IngestReport | MedcbirError, None, None]:
    """What each look brought, or why it failed, `every` so many seconds between; ends with an interrupted look.

    A server that is away is waited for from the start. Any other error is raised by the first look, since it is then
    likely the caller's; after one that went well it is told, and the next look tries again.
    """
    looked = False
    while True:
        try:
            report = look()
            looked = True
        except MedcbirError as error:
            if not (looked or isinstance(error, SourceAwayError)):
                raise
            yield error
        else:
            yield report
            if report.interrupted or any(each.interrupted for each in report.encoded):
                return
        time.sleep(every)
