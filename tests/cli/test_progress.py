"""Progress where there is no terminal: a job's log."""

import pytest

from medcbir.cli.progress import progress


def test_a_log_tells_when_a_stage_begins_and_what_it_did(capfd: pytest.CaptureFixture[str]) -> None:
    with progress() as shown:
        shown.begin("counting", "images", 3)
        assert capfd.readouterr().err == "counting ...\n"
        shown.advance(3)
        assert capfd.readouterr().err == ""
        shown.begin("writing", "rows", None)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert lines[0].startswith("counting: 3 of 3 images, done, ")
    assert lines[1] == "writing ..."
    assert lines[2].startswith("writing: 0 rows, done, ")
    assert out == ""
