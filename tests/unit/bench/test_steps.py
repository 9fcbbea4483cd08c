"""The runner of steps, on steps that count how often they are done."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medcbir.bench.steps import NotApplicableError, Outcome, Runner, Step
from medcbir.errors import EncoderError, InputError
from medcbir.types import Progress, Silent


class Kitchen:
    """Two encoders' chains of two steps, and a last one that looks at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.inputs: dict[str, Any] = {}
        self.broken: dict[str, BaseException] = {}
        self.gone: set[str] = set()
        self.runner = Runner(folder, [])

    def step(self, kind: str, subject: str | None = None, needs: tuple[str, ...] = ()) -> Step:
        name = kind if subject is None else f"{kind}-{subject}"

        def inputs() -> Mapping[str, Any]:
            return {"of": self.inputs.get(name), "before": [self.runner.facts(each) for each in needs]}

        def action(progress: Progress) -> Mapping[str, Any]:
            progress.begin(kind, "pieces", 1)
            if name in self.broken:
                raise self.broken[name]
            self.done.append(name)
            return {"made": name, "of": self.inputs.get(name)}

        return Step(kind, inputs, action, subject, needs, lambda _: name not in self.gone, lambda: 3.0)

    def run(self, plan: bool = False, **chosen: Any) -> dict[str, Outcome]:
        steps = [self.step("encode", each) for each in "ab"]
        steps += [self.step("retrieve", each, (f"encode-{each}",)) for each in "ab"]
        self.runner = Runner(self.folder, [*steps, self.step("report")])
        self.done = []
        outcomes = self.runner.plan(**chosen) if plan else self.runner.run(Silent(), **chosen)
        return {each.step.name: each for each in outcomes}


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "steps")


def test_a_second_run_does_nothing_and_knows_what_the_first_found(kitchen: Kitchen) -> None:
    first = kitchen.run()
    assert kitchen.done == ["encode-a", "encode-b", "retrieve-a", "retrieve-b", "report"]
    second = kitchen.run()
    assert kitchen.done == []
    assert {each.status for each in second.values()} == {"unchanged"}
    assert all(second[name].facts == first[name].facts for name in first)
    assert all(second[name].seconds == first[name].seconds for name in first)


def test_a_changed_input_repeats_the_step_and_those_that_depend_on_what_it_made(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.inputs["encode-b"] = "another checkpoint"
    kitchen.run()
    assert kitchen.done == ["encode-b", "retrieve-b"]


def test_what_is_gone_is_made_again(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.gone.add("retrieve-a")
    kitchen.run()
    assert kitchen.done == ["retrieve-a"]


def test_one_failure_stops_what_needs_it_and_nothing_else(kitchen: Kitchen) -> None:
    kitchen.broken["encode-a"] = EncoderError("no weights of a")
    kitchen.broken["retrieve-b"] = ValueError("first line\nsecond line")
    outcomes = kitchen.run()
    assert (outcomes["encode-a"].status, outcomes["encode-a"].reason) == ("failed", "no weights of a")
    assert outcomes["retrieve-a"].status == "skipped"
    assert "encode-a" in outcomes["retrieve-a"].reason
    assert (outcomes["retrieve-b"].status, outcomes["retrieve-b"].reason) == ("failed", "ValueError: first line")
    assert kitchen.done == ["encode-b", "report"]
    kitchen.broken.clear()
    kitchen.run()
    assert kitchen.done == ["encode-a", "retrieve-a", "retrieve-b"]


def test_a_step_without_anything_to_do_is_skipped_with_its_reason(kitchen: Kitchen) -> None:
    kitchen.broken["encode-a"] = NotApplicableError("no image")
    outcomes = kitchen.run()
    assert (outcomes["encode-a"].status, outcomes["encode-a"].reason) == ("skipped", "no image")


def test_an_interrupted_step_leaves_no_state_and_is_done_again(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.inputs["retrieve-a"] = "more"
    kitchen.broken["retrieve-a"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    assert not (kitchen.folder / "retrieve-a.json").exists()
    kitchen.broken.clear()
    assert kitchen.run()["retrieve-a"].status == "done"
    assert kitchen.done == ["retrieve-a"]


def test_a_state_that_was_half_written_counts_as_none(kitchen: Kitchen) -> None:
    kitchen.run()
    whole = (kitchen.folder / "encode-a.json").read_text()
    (kitchen.folder / "encode-a.json").write_text(whole[: len(whole) // 2])
    kitchen.run()
    assert kitchen.done == ["encode-a"]


def test_steps_are_chosen_and_left_out_by_kind(kitchen: Kitchen) -> None:
    outcomes = kitchen.run(only=["encode"])
    assert kitchen.done == ["encode-a", "encode-b"]
    assert outcomes["report"].reason == "left out"
    kitchen.run(skip=["report"])
    assert kitchen.done == ["retrieve-a", "retrieve-b"]
    with pytest.raises(InputError, match="no step 'encoded' in this suite: its steps are encode, retrieve, report"):
        kitchen.run(only=["encoded"])


def test_a_plan_does_nothing_and_tells_what_is_to_do_and_for_how_long(kitchen: Kitchen) -> None:
    planned = kitchen.run(plan=True)
    assert kitchen.done == []
    assert {(each.status, each.seconds) for each in planned.values()} == {("to do", 3.0)}
    first = kitchen.run()
    kitchen.inputs["encode-a"] = "new"
    planned = kitchen.run(plan=True)
    assert [name for name, each in planned.items() if each.status == "to do"] == ["encode-a", "retrieve-a"]
    assert planned["encode-a"].seconds == first["encode-a"].seconds  # as long as the last time


def test_two_processes_do_not_work_in_one_folder(kitchen: Kitchen) -> None:
    def again(_: Outcome) -> None:
        with pytest.raises(InputError, match="another process works in"):
            Runner(kitchen.folder, []).run(Silent())

    assert len(kitchen.run(tell=again)) == 5


def test_a_state_is_readable_json_with_time_and_memory(kitchen: Kitchen) -> None:
    kitchen.run()
    state = json.loads((kitchen.folder / "encode-a.json").read_text())
    assert state["step"] == "encode-a"
    assert 0 <= state["seconds"] < 10
    assert state["peak_mib"] is None or 10 < state["peak_mib"] < 10_000
