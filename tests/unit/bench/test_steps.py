"""The runner of steps, on steps that count how often they are done."""

import json
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
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
        self.made: dict[str, Mapping[str, Any]] = {}
        self.no_room: BaseException | None = None
        self.while_it_does: Callable[[str], None] = lambda _: None
        self.runner = Runner(folder, [])

    def step(self, kind: str, subject: str | None = None, needs: tuple[str, ...] = ()) -> Step:
        name = kind if subject is None else f"{kind}-{subject}"

        def inputs() -> Mapping[str, Any]:
            return {"of": self.inputs.get(name), "before": [self.runner.facts(each) for each in needs]}

        def action(progress: Progress) -> Mapping[str, Any]:
            progress.begin(kind, "pieces", 1)
            self.while_it_does(name)
            if name in self.broken:
                raise self.broken[name]
            self.done.append(name)
            return {"made": name, "of": self.inputs.get(name)}

        def finished() -> Mapping[str, Any] | None:
            return self.made.get(name)

        def make_room() -> None:
            if self.no_room is not None:
                raise self.no_room
            self.made.pop(name, None)

        return Step(
            kind, inputs, action, subject, needs, lambda _: name not in self.gone, lambda: 3.0, finished, make_room
        )

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


def test_a_step_that_found_nothing_to_do_is_not_planned_again_for_the_same_inputs(kitchen: Kitchen) -> None:
    kitchen.broken["retrieve-a"] = NotApplicableError("no class is large enough")
    reasons = [kitchen.run()["retrieve-a"].reason, kitchen.run(plan=True)["retrieve-a"].reason]
    assert reasons == ["no class is large enough"] * 2
    kitchen.inputs["retrieve-a"] = "more"
    assert kitchen.run(plan=True)["retrieve-a"].status == "to do"
    kitchen.broken.clear()
    assert kitchen.run()["retrieve-a"].status == "done"


def test_an_interrupted_step_is_done_again(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.inputs["retrieve-a"] = "more"
    kitchen.broken["retrieve-a"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    assert "facts" not in json.loads((kitchen.folder / "retrieve-a.json").read_text())
    kitchen.broken.clear()
    assert kitchen.run()["retrieve-a"].status == "done"
    assert kitchen.done == ["retrieve-a"]


def test_an_interrupted_step_that_had_finished_finds_what_it_made(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.inputs["retrieve-a"] = "more"
    kitchen.broken["retrieve-a"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    kitchen.made["retrieve-a"] = {"made": "before it was broken off"}
    found = kitchen.run()["retrieve-a"]
    assert (found.status, found.facts, found.seconds) == ("done", {"made": "before it was broken off"}, None)
    assert kitchen.done == []
    assert kitchen.run()["retrieve-a"].status == "unchanged"


def test_what_was_made_of_other_inputs_is_not_taken_for_what_an_interrupted_step_made(kitchen: Kitchen) -> None:
    kitchen.broken["retrieve-a"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    kitchen.broken.clear()
    kitchen.made["retrieve-a"] = {"made": "of other inputs"}
    kitchen.inputs["retrieve-a"] = "more"
    assert kitchen.run()["retrieve-a"].facts == {"made": "retrieve-a", "of": "more"}
    assert "retrieve-a" in kitchen.done


def test_what_was_made_of_other_inputs_is_not_taken_where_it_had_not_yet_made_room(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.made["retrieve-a"] = {"made": "of other inputs"}
    kitchen.inputs["retrieve-a"] = "more"
    kitchen.no_room = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    kitchen.no_room = None
    assert kitchen.run()["retrieve-a"].facts == {"made": "retrieve-a", "of": "more"}


@pytest.mark.parametrize("made_of_it", [ImportError("initialization failed"), None])
def test_ctrl_c_stops_all_though_a_library_makes_an_error_of_it_or_swallows_it(
    kitchen: Kitchen, made_of_it: BaseException | None
) -> None:
    def pressed(name: str) -> None:
        if name == "encode-a":
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            if made_of_it is not None:
                raise made_of_it

    kitchen.while_it_does = pressed
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    assert "encode-b" not in kitchen.done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    kitchen.while_it_does = lambda _: None
    assert {each.status for each in kitchen.run().values()} <= {"done", "unchanged"}


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
