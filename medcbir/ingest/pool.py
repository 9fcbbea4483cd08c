"""A pool of worker processes: bounded look-ahead, results in the order of the tasks, crashes and hangs contained."""

import contextlib
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any, Self

SECONDS_PER_FILE = 300.0
"""A file that keeps its decoder busy for longer is given up."""

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Of glibc, in bytes: an image's memory is kept for the next one, unless it is large. Else the kernel maps and
    # clears it anew, which takes a fifth of the time of a PNG of 512 x 512.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that has no result, and why, in words that name no patient."""

    reason: str


class _Worker:
    """One process and the thread that speaks to it."""

    def __init__(self, siblings: int) -> None:
        self._siblings = siblings
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._deadline = math.inf
        self._late = False
        self._ended = False

    def start(self) -> subprocess.Popen[bytes]:
        """The process, started if it does not run; it takes half a second to be of use, without anyone waiting."""
        if self._process is None:
            self._process = self._open()
        return self._process

    def _open(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            # -P and the parent's own path: a file in the working directory must not stand in for a module
            [sys.executable, "-P", "-m", "medcbir.ingest.worker", str(self._siblings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the command, which then closes its workers
            env=os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def run(self, job: str, tasks: list[tuple[Any, ...]], seconds: float) -> list[Any]:
        """The result or `Failure` of each task; where one of several ends the process, they are run one by one."""
        process = self.start()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        with self._lock:
            self._deadline, self._late = time.monotonic() + seconds, False
        try:
            pickle.dump((job, tasks), process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            answers = pickle.load(process.stdout)  # noqa: S301
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            if len(tasks) == 1 or self._ended:
                reason = f"its decoder was stopped after {seconds:.0f} s" if self._late else "its decoder crashed"
                return [Failure(reason)] * len(tasks)
        else:
            return [result if succeeded else Failure(result) for succeeded, result in answers]
        finally:
            with self._lock:
                self._deadline = math.inf
        return [self.run(job, [task], seconds)[0] for task in tasks]

    def end_if_late(self) -> None:
        """End the process where its file has had its time."""
        with self._lock:
            if time.monotonic() >= self._deadline and self._process is not None:
                self._late = True
                self._process.kill()

    def end(self) -> None:
        """End the process for good, also where a thread waits for its answer."""
        self._ended = True
        self.close()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what the dead process had not read is lost, rightly
                        pipe.close()
            process.wait()


class WorkerPool:
    """`workers` processes that run one job; `map` yields each task with its result or `Failure`, in order.

    `together` tasks are handed over at a time: several, where a task may take less than the handing over does.
    """

    def __init__(
        self,
        job: str,
        *,
        workers: int | None = None,
        ahead: int = 64,
        together: int = 1,
        seconds: float = SECONDS_PER_FILE,
    ) -> None:
        self.job = job
        self.ahead = ahead
        self.together = together
        self.seconds = seconds
        count = workers or os.cpu_count() or 1
        self._workers = [_Worker(count) for _ in range(count)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(self._workers), thread_name_prefix="medcbir-worker")
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="medcbir-watch", daemon=True).start()

    def _watch(self) -> None:
        """One thread for all workers: a timer for each file would cost more than a small file does."""
        while not self._closed.wait(min(1.0, self.seconds / 20)):
            for worker in self._workers:
                worker.end_if_late()

    def start(self) -> None:
        """Start the processes before there is a task for them."""
        for worker in self._workers:
            worker.start()

    def _run(self, tasks: list[tuple[Any, ...]]) -> list[Any]:
        worker = self._idle.get()
        try:
            return worker.run(self.job, tasks, self.seconds)
        finally:
            self._idle.put(worker)

    def map(self, tasks: Iterable[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Each task (the job's arguments) with its result, in order; at most `ahead` tasks are taken in advance."""
        pending: deque[tuple[list[tuple[Any, ...]], Future[list[Any]]]] = deque()
        arriving = iter(tasks)
        while several := list(islice(arriving, self.together)):
            pending.append((several, self._threads.submit(self._run, several)))
            if len(pending) * self.together >= self.ahead:
                first, future = pending.popleft()
                yield from zip(first, future.result(), strict=True)
        while pending:
            first, future = pending.popleft()
            yield from zip(first, future.result(), strict=True)

    def close(self) -> None:
        """End the processes at once; tasks under way are given up."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.close()  # one that a thread has started meanwhile

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
