"""Commands that get Ctrl-C end with 130, or 0 where they had just finished, whatever a library makes of it."""

import importlib
import json
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from medcbir.errors import EncoderError

main = importlib.import_module("medcbir.cli.main")


def pressed(then: BaseException | int | None) -> Callable[..., int | None]:
    """A command that swallows Ctrl-C, and raises or returns this."""

    def command(**_: object) -> int | None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if isinstance(then, BaseException):
            raise then
        return then

    return command


@pytest.mark.parametrize(
    ("then", "code"),
    [
        (KeyboardInterrupt(), 130),
        (ImportError("initialization failed"), 130),
        (EncoderError("no weights could be read"), 130),
        (OSError(4, "Interrupted system call", "file"), 130),
        (1, 130),
        (0, 0),
        (None, 0),
        (main.REJECTED, main.REJECTED),
    ],
)
def test_a_command_that_was_interrupted_says_so(
    then: BaseException | int | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "cli", pressed(then))
    monkeypatch.setattr("sys.argv", ["medcbir", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    if isinstance(then, BaseException):
        assert json.loads(said)["error"] == {
            "message": "interrupted; run the same command again to go on",
            "exit_code": 130,
        }
    else:
        assert said == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_that_is_none_of_a_user_is_raised_as_it_is_where_nobody_pressed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(**_: object) -> None:
        raise ImportError("no module")

    monkeypatch.setattr(main, "cli", broken)
    with pytest.raises(ImportError, match="no module"):
        main.main()
