"""medcbir bench: what it tells beforehand and meanwhile, steps chosen, and an encoder of a user's own to its tables."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import tiny_clip

Run = Callable[..., CompletedProcess[str]]
SLOW = [part for kind in ("map", "encoding-speed", "retrieval-speed") for part in ("--skip", kind)]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of encoders with `tiny.toml`."""
    folder = tmp_path_factory.mktemp("encoders")
    tiny_clip.write(folder / "published")
    (folder / "tiny.toml").write_text(
        'architecture = "local-dir:published"\ntitle = "Tiny CLIP"\nlicence = "CC0"\nseen = ["nih14"]\n'
    )
    return folder


@pytest.fixture
def bench(clone: Callable[..., str], filled: str, own: Path, run_medcbir: Run, tmp_path: Path) -> Run:
    """`medcbir bench` on a copy of database `filled`, into tmp_path/out."""
    url = clone(filled)

    def run(*arguments: object) -> CompletedProcess[str]:
        given = ("bench", "--dataset", "made", *arguments, "--out", tmp_path / "out", "--database-url", url)
        return run_medcbir(*given, MEDCBIR_ENCODERS_DIR=own, COLUMNS=200)

    return run


def steps(done: CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {each["step"]: each for each in json.loads(done.stdout)["steps"]}


def table(out: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "tables" / f"{name}.json").read_text())["rows"]
    return rows


def test_an_encoder_of_ones_own_gets_the_papers_tables(bench: Run, tmp_path: Path) -> None:
    done = bench("--encoder", "tiny", *SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = table(tmp_path / "out", "retrieval")
    assert row["encoder"] == "Tiny CLIP"
    assert 0 <= row["p_at_1_micro"]["value"] <= 1
    (about,) = table(tmp_path / "out", "encoders")
    assert (about["encoder"], about["licence"], about["seen"], about["dim"]) == ("Tiny CLIP", "CC0", "NIH14", 32)
    assert about["vectors"] == "encoded here"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Medical image retrieval by 1 encoder" in page
    assert "medcbir bench --suite paper --encoder tiny --dataset made --out out" in page


def test_what_fails_for_one_encoder_does_not_stop_the_other(bench: Run, tmp_path: Path) -> None:
    done = bench("--encoder", "clip", "--encoder", "efficientnet_lite0", *SLOW, "--format", "json")
    assert done.returncode == 1
    found = steps(done)
    assert found["weights-clip"]["status"] == "failed"
    assert "open_clip_model.safetensors" in found["weights-clip"]["reason"]
    assert found["retrieve-clip"]["reason"] == "it needs weights-clip, which failed"
    for kind in ("weights", "encode", "retrieve", "evaluate"):
        assert found[f"{kind}-efficientnet_lite0"]["status"] == "done"
    assert found["report"]["status"] == "done"
    assert [row["encoder"] for row in table(tmp_path / "out", "retrieval")] == ["EfficientNet-Lite0"]
    assert "weights: " in (tmp_path / "out" / "report.md").read_text()


def test_steps_are_chosen_and_left_out(bench: Run, tmp_path: Path) -> None:
    only = steps(bench("--encoder", "efficientnet_lite0", "--only", "retrieve", "--format", "json"))
    assert [name for name, each in only.items() if each["status"] == "done"] == []
    assert only["retrieve-efficientnet_lite0"]["reason"] == ("it needs weights-efficientnet_lite0, which was skipped")
    chosen = ("--only", "weights", "--only", "encode", "--only", "retrieve", "--only", "evaluate")
    only = steps(bench("--encoder", "efficientnet_lite0", *chosen, "--skip", "evaluate", "--format", "json"))
    done = ["weights-efficientnet_lite0", "encode-efficientnet_lite0", "retrieve-efficientnet_lite0"]
    assert [name for name, each in only.items() if each["status"] == "done"] == done
    assert only["evaluate-efficientnet_lite0"]["reason"] == only["report"]["reason"] == "left out"
    unknown = bench("--encoder", "efficientnet_lite0", "--only", "retrieval")
    assert unknown.returncode == 1
    assert "no step 'retrieval' in this suite: its steps are data, weights, encode, retrieve" in unknown.stderr


def test_progress_tells_the_step_of_how_many_and_how_far_it_is(bench: Run) -> None:
    done = bench("--encoder", "efficientnet_lite0", *SLOW)
    told = re.findall(r"^\[(\d+)/(\d+)\] (\S+): (.*)", done.stderr, re.MULTILINE)
    planned = len(steps(bench("--encoder", "efficientnet_lite0", "--dry-run", "--format", "json")))
    assert {int(total) for _, total, _, _ in told} == {planned}
    numbers = [int(number) for number, *_ in told]
    assert numbers == sorted(numbers)
    retrieval = [text for _, _, step, text in told if step == "retrieve-efficientnet_lite0"]
    assert any(
        re.match(r"retrieve efficientnet_lite0: 6 of 6 queries, done, [\d.]+ queries/s", text) for text in retrieval
    )


def test_a_dry_run_tells_what_is_to_do_and_for_how_long_and_does_nothing(bench: Run, tmp_path: Path) -> None:
    told = bench("--encoder", "efficientnet_lite0", "--dry-run")
    assert told.returncode == 0
    assert re.search(r"^to do: about \d+ minutes, an estimate for two cores that do nothing else$", told.stdout, re.M)
    assert not (tmp_path / "out" / "steps").exists()
    before = steps(bench("--encoder", "efficientnet_lite0", "--dry-run", "--format", "json"))
    assert {each["status"] for each in before.values()} <= {"to do", "skipped"}
    assert all(each["seconds"] > 0 for each in before.values() if each["status"] == "to do")
    bench("--encoder", "efficientnet_lite0", *SLOW)
    after = steps(bench("--encoder", "efficientnet_lite0", *SLOW, "--dry-run", "--format", "json"))
    assert {name for name, each in after.items() if each["status"] == "to do"} == set()


def test_a_dry_run_of_the_papers_size_needs_no_database_and_estimates_by_its_counts(
    run_medcbir: Run, tmp_path: Path
) -> None:
    def told(scale: float) -> dict[str, float]:
        given = ("--suite", "scale", "--scale", scale, "--dry-run", "--format", "json", "--out", tmp_path / "out")
        done = run_medcbir("bench", *given)
        assert done.returncode == 0, done.stderr
        return {name: each["seconds"] for name, each in steps(done).items() if each["status"] == "to do"}

    small, large = told(0.01), told(1)
    assert not (tmp_path / "out").exists()
    measured = {  # docs/benchmarks.md, on two cores with a load of at most two
        "catalogue": (7.3, 131),
        "vectors-synthetic": (3.1, 88),
        "retrieve-synthetic": (4.4, 794),
        "truth-synthetic": (3.6, 45),
        "evaluate-synthetic": (2.1, 26),
    }
    for step, seconds in measured.items():
        for estimated, found in zip((small[step], large[step]), seconds, strict=True):
            assert found / 2 < estimated < 2 * found, step
    assert small["linear-synthetic"] == pytest.approx(17.0, rel=0.5)
    for step in ("same-patient", "knn"):
        assert large[f"{step}-synthetic"] == pytest.approx(large["retrieve-synthetic"], rel=0.1)
    assert 3600 < sum(large.values()) < 3 * 3600
