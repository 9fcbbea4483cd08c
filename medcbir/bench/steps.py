"""Steps that are done once: each is skipped while what it depends on, and what it made, is as it was.

A state is one JSON file: what a step depends on when it is begun; what it made as well, or why it had nothing to do,
when it is whole. One that was broken off in between is done again, unless it finds that it had finished.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from medcbir.bench.memory import peak_memory
from medcbir.errors import InputError, MedcbirError, printable
from medcbir.interrupts import noted
from medcbir.store.vector_files import replaced
from medcbir.types import Progress

Facts = Mapping[str, Any]
"""What a step found or made, as JSON values: names and ids of what is in the database now, files, counts."""

Status = Literal["done", "unchanged", "skipped", "failed", "to do"]


class NotApplicableError(Exception):
    """A step has nothing to work on here, for the reason that this says."""


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a benchmark.

    `kind` is what a user calls it, `subject` the encoder that it is about, if any. `inputs` tells all that its outcome
    depends on, as JSON values; it may raise `NotApplicableError`. `action` does it, and does no harm where a part of it
    was done before. `holds` tells whether what an earlier action made is still there. `finished` is what an action with
    the same inputs made that was broken off before its state was written; None where there is no such thing. So that
    nothing made of other inputs is taken for it, `make_room` removes that before the action is begun. `needs` are steps
    that must have succeeded. `estimate` is in seconds.
    """

    kind: str
    inputs: Callable[[], Facts]
    action: Callable[[Progress], Facts]
    subject: str | None = None
    needs: tuple[str, ...] = ()
    holds: Callable[[Facts], bool] = lambda _: True
    estimate: Callable[[], float | None] = lambda: None
    finished: Callable[[], Facts | None] = lambda: None
    make_room: Callable[[], object] = lambda: None

    @property
    def name(self) -> str:
        """Unique within a benchmark, and a file's name."""
        return self.kind if self.subject is None else f"{self.kind}-{self.subject}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step went. `seconds` and `peak_mib`, of the process, are of when it was done.

    They are None where it was not, or was broken off when it had finished. For 'to do' `seconds` is an estimate.
    """

    step: Step
    status: Status
    seconds: float | None = None
    peak_mib: float | None = None
    reason: str = ""
    facts: Facts = field(default_factory=dict)


class Runner:
    """Does steps in their order, and keeps their state in `folder`."""

    def __init__(self, folder: Path, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        self.outcomes: dict[str, Outcome] = {}
        self._folder = folder

    def facts(self, name: str) -> Facts:
        """What a step that has been done, now or earlier, found; empty for any other."""
        return self.outcomes[name].facts if name in self.outcomes else {}

    def run(
        self,
        progress: Progress,
        *,
        only: Sequence[str] = (),
        skip: Sequence[str] = (),
        tell: Callable[[Outcome], None] = lambda _: None,
    ) -> list[Outcome]:
        """Do what is to be done, of the kinds of `only` (all where empty) and not of `skip`; `tell` hears of each.

        One step's failure does not stop those that do not need it; Ctrl-C stops all, whatever a step makes of it.
        Raises `InputError` for an unknown kind, and where another process works in the folder.
        """
        chosen = self._chosen(only, skip)
        with alone(self._folder), noted() as interrupted:
            for number, step in enumerate(self.steps, start=1):
                numbered = _Numbered(progress, f"[{number}/{len(self.steps)}] {step.name}")
                outcome = self._outcome(step, step.kind in chosen, partial(self._do, numbered))
                if interrupted():
                    raise KeyboardInterrupt
                self._keep(outcome, tell)
        return list(self.outcomes.values())

    def plan(self, *, only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Outcome]:
        """What `run` would do, as far as it can be told beforehand; nothing is done."""
        chosen = self._chosen(only, skip)
        for step in self.steps:
            self._keep(self._outcome(step, step.kind in chosen, self._estimated), lambda _: None)
        return list(self.outcomes.values())

    def _chosen(self, only: Sequence[str], skip: Sequence[str]) -> set[str]:
        kinds = list(dict.fromkeys(step.kind for step in self.steps))
        if unknown := next((kind for kind in (*only, *skip) if kind not in kinds), None):
            raise InputError(f"no step {unknown!r} in this suite: its steps are {', '.join(kinds)}")
        self.outcomes.clear()
        return set(only or kinds) - set(skip)

    def _keep(self, outcome: Outcome, tell: Callable[[Outcome], None]) -> None:
        self.outcomes[outcome.step.name] = outcome
        tell(outcome)

    def _outcome(self, step: Step, chosen: bool, do: Callable[[Step, str | None], Outcome]) -> Outcome:
        before = [self.outcomes[name] for name in step.needs]
        if missing := next((each for each in before if each.status in ("failed", "skipped")), None):
            how = "failed" if missing.status == "failed" else "was skipped"
            return Outcome(step, "skipped", reason=f"it needs {missing.step.name}, which {how}")
        try:
            inputs = None if any(each.status == "to do" for each in before) else _digest(step.inputs())
            state = self._state(step)
            if state and state["inputs"] == inputs and step.holds(state["facts"]):
                return Outcome(step, "unchanged", state["seconds"], state["peak_mib"], facts=state["facts"])
            if not chosen:
                return Outcome(step, "skipped", reason="left out")
            return do(step, inputs)
        except NotApplicableError as reason:
            return Outcome(step, "skipped", reason=str(reason))
        except MedcbirError as error:
            return Outcome(step, "failed", reason=str(error))
        except Exception as error:  # whatever an encoder's code raises must not stop the others
            return Outcome(step, "failed", reason=printable(f"{type(error).__name__}: {error}".splitlines()[0]))

    def _do(self, progress: Progress, step: Step, inputs: str | None) -> Outcome:
        begun = {"step": step.name, "inputs": inputs}
        facts = step.finished() if self._written(step) == begun else None
        seconds = peak_mib = None
        if facts is None:
            step.make_room()
            self._write(step, begun)
            started = time.perf_counter()
            try:
                with peak_memory() as peak:
                    facts = step.action(progress)
            except NotApplicableError as reason:
                self._write(step, begun | {"reason": str(reason)})
                raise
            seconds, peak_mib = time.perf_counter() - started, peak()
        facts = json.loads(json.dumps(facts))
        self._write(step, begun | {"seconds": seconds, "peak_mib": peak_mib, "facts": facts})
        return Outcome(step, "done", seconds, peak_mib, facts=facts)

    def _estimated(self, step: Step, inputs: str | None) -> Outcome:
        before = self._written(step)
        if "reason" in before and before["inputs"] == inputs:
            return Outcome(step, "skipped", reason=before["reason"])
        return Outcome(step, "to do", before.get("seconds") or step.estimate())

    def _file(self, step: Step) -> Path:
        return self._folder / f"{step.name}.json"

    def _write(self, step: Step, state: Facts) -> None:
        with replaced(self._file(step)) as draft:
            draft.write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")

    def _written(self, step: Step) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._file(step).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return state

    def _state(self, step: Step) -> dict[str, Any] | None:
        """The state of a step that is whole."""
        state = self._written(step)
        return state if "facts" in state else None


class _Numbered:
    """Progress whose stages tell which step they belong to."""

    def __init__(self, shown: Progress, prefix: str) -> None:
        self._shown = shown
        self._prefix = prefix

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        self._shown.begin(f"{self._prefix}: {stage}", unit, total)

    def advance(self, items: int) -> None:
        self._shown.advance(items)

    def note(self, text: str) -> None:
        self._shown.note(text)


def _digest(inputs: Facts) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder of steps; the kernel drops the lock with the process.

    Raises `InputError` where one works there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process works in {folder.parent}: wait for it, or choose another --out"
            ) from None
        yield
