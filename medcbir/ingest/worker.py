"""A process that opens files for the pipelines: tasks come in on standard input, results leave on standard output.

Started by `pool.py` with `python -m medcbir.ingest.worker`, not by multiprocessing: the user's own main module is
never imported a second time, and the parent can tell which file was open when a decoder crashed or hung. Both ends of
the pipe are this program, so pickle carries nothing from outside.
"""

import contextlib
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from medcbir.errors import MedcbirError
from medcbir.ingest import open_files

JOBS: dict[str, Callable[..., Any]] = {
    "inspect": open_files.inspect,
    "prepare": open_files.prepare_frames,
}


_LEAST_MEMORY = 4 * 2**30  # bytes: two of the largest images that are let through, as they are decoded


def limit_memory(workers: int) -> None:
    """Give this process half of the machine's memory, shared with its siblings, so that it fails alone.

    An allocation beyond that ends the file, by `MemoryError` or a crash of its decoder, not other processes.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):  # not on every system
        import resource

        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limit = max(_LEAST_MEMORY, memory // 2 // workers)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's image


def main() -> None:
    """Serve `(job, tasks)` until standard input closes; a task's answer is `(succeeded, result or message)`."""
    inbox, outbox = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a decoder prints must not mix with results
    limit_memory(int(sys.argv[1]))
    sys.modules["requests"] = None  # type: ignore[assignment]  # pydicom would import it, to download what it tests with
    while True:
        try:
            job, tasks = pickle.load(inbox)  # noqa: S301
        except EOFError:
            return
        pickle.dump([_answer(job, arguments) for arguments in tasks], outbox, protocol=pickle.HIGHEST_PROTOCOL)
        outbox.flush()


def _answer(job: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, JOBS[job](*arguments)
    except MedcbirError as error:
        return False, str(error)
    except MemoryError:
        return False, "needs more memory than there is"


if __name__ == "__main__":
    main()
