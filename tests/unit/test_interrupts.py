"""Ctrl-C is noted, held back, and handled as before afterwards."""

import signal
import threading
from contextlib import suppress

import pytest

from medcbir.interrupts import held_back, noted


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_what_a_library_swallows_is_noted() -> None:
    with noted() as pressed, noted() as pressed_inside:
        assert not pressed()
        with suppress(KeyboardInterrupt):
            press()
        assert pressed()
        assert pressed_inside()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_held_back_comes_when_it_is_asked_for_or_at_the_end() -> None:
    def iterate(times: int, *, asking: bool) -> None:
        with held_back() as interrupt:
            for number in range(times):
                press()
                done.append(number)
                if asking:
                    interrupt()

    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        iterate(2, asking=True)
    assert done == [0]
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        iterate(2, asking=False)
    assert done == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_shell_that_ignores_it_for_us_and_threads_are_left_alone() -> None:
    def work() -> None:
        with noted() as pressed, held_back():
            told.append(pressed())

    told: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noted() as pressed:
            press()
            told.append(pressed())
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [False, False]
