"""Ctrl-C in libraries that swallow it, make another error of it, or crash where it comes into their midst."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Gives what tells whether Ctrl-C was pressed meanwhile, which interrupts as before.

    In a thread, where no signal arrives, and where SIGINT is ignored, it never was.
    """
    pressed = False
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        if callable(before):
            before(number, frame)

    with _handled_by(note if callable(before) else None):
        yield lambda: pressed


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits for a call of what this gives, or for the end, and raises `KeyboardInterrupt` there."""
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True

    def interrupt() -> None:
        if pressed:
            raise KeyboardInterrupt

    with _handled_by(note):
        yield interrupt
    interrupt()


@contextmanager
def _handled_by(handler: Handler | None) -> Iterator[None]:
    """SIGINT is handled by this meanwhile, in the main thread; None changes nothing."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
