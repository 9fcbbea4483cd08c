"""The paper's protocol for one encoder, whose vectors are there or made by an earlier step (Denner et al. 2024).

Each step is one call of the Python interface. Its inputs are the catalogue, the vectors and the parameters; its facts
are names and ids of what stands in the database, from which the report reads every number. What a step stores bears a
name of the benchmark's own, by which it finds again what it had finished when it was broken off.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, get_args

from psycopg.types.json import Jsonb

from medcbir.bench import estimates
from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, NotApplicableError, Runner, Step
from medcbir.bench.suites import COVID
from medcbir.errors import RunError
from medcbir.store.vector_files import replaced
from medcbir.types import Filter, Progress, Split

_DIGITS = 12
_EPOCHS = 100  # of a linear probe, at most

_DROP_CLASSIFICATION = "SELECT drop_classification(classification_id) FROM classification WHERE name = %(name)s"
_DROP_ABLATION = "DELETE FROM ablation WHERE name = %(name)s RETURNING ablation_id"
_DROP_MAP = "SELECT drop_projection(projection_id) FROM projection WHERE name = %(name)s"

Estimate = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class _Retrieval:
    """A run: the end of its name, and how it is asked for."""

    suffix: str
    queries: Filter
    index: Filter
    n: int
    exclude_same_patient: bool = True


def steps_of(bench: Bench, encoder: str, runner: Callable[[], Runner], made_by: tuple[str, ...]) -> list[Step]:
    """The steps of `encoder`, which need the steps `made_by`; the last of these tells the name that it is stored by."""
    return _Protocol(bench, encoder, runner, made_by).steps()


class _Protocol:
    def __init__(self, bench: Bench, encoder: str, runner: Callable[[], Runner], made_by: tuple[str, ...]) -> None:
        self._bench = bench
        self._encoder = encoder
        self._runner = runner
        self._made_by = made_by

    @property
    def _stored(self) -> str:
        facts = self._runner().facts(self._made_by[-1]) if self._made_by else {}
        return str(facts.get("encoder", self._encoder))

    def steps(self) -> list[Step]:
        suite, images = self._bench.suite, self._bench.images
        test, train, made_by = images("test"), images("train"), self._made_by
        retrieved, neighbours = f"retrieve-{self._encoder}", f"neighbours-{self._encoder}"
        covid = _Retrieval(
            "-covid", Filter(datasets=[COVID], split="test"), Filter(datasets=[COVID], split="train"), suite.n
        )
        alike = _Retrieval("-same-patient", test, train, suite.n, exclude_same_patient=False)
        of_val = _Retrieval("-val", images("val"), train, suite.max_k)
        of_test = self._seconds_of("test")
        return [
            self._retrieving(
                "retrieve", _Retrieval("", test, train, suite.n), made_by, self._inputs, self._seconds_of("test", True)
            ),
            self._step(
                "evaluate",
                self._evaluate,
                (retrieved,),
                self._inputs,
                self._file_is_there,
                lambda: estimates.evaluating(self._bench.labelled("test")),
            ),
            self._retrieving("same-patient", alike, (retrieved,), self._same_patient_inputs, of_test),
            self._retrieving("covid", covid, made_by, self._covid_inputs, lambda: 5.0),
            self._retrieving("neighbours", of_val, made_by, self._val_inputs, self._seconds_of("val")),
            self._storing("knn", "-knn", _DROP_CLASSIFICATION, self._knn, (retrieved, neighbours), of_test),
            self._storing(
                "linear",
                "-linear",
                _DROP_CLASSIFICATION,
                self._linear,
                made_by,
                lambda: estimates.probing(self._bench.labelled("train"), _EPOCHS),
                self._val_inputs,
            ),
            self._storing(
                "ablate",
                "",
                _DROP_ABLATION,
                self._ablate,
                made_by,
                lambda: estimates.ablating(self._bench.labelled("train")),
            ),
            self._storing(
                "map",
                "",
                _DROP_MAP,
                self._map,
                made_by,
                lambda: estimates.mapping(self._labelled()),
            ),
        ]

    def _step(
        self,
        kind: str,
        action: Callable[[Progress], Facts],
        needs: tuple[str, ...],
        inputs: Callable[[], Facts],
        holds: Callable[[Facts], bool],
        estimate: Estimate,
        finished: Callable[[], Facts | None] = lambda: None,
        make_room: Callable[[], object] = lambda: None,
    ) -> Step:
        return Step(kind, inputs, action, self._encoder, needs, holds, estimate, finished, make_room)

    def _retrieving(
        self,
        kind: str,
        asked: _Retrieval,
        needs: tuple[str, ...],
        inputs: Callable[[], Facts],
        estimate: Estimate,
    ) -> Step:
        """A step that stores a run; one of its name that was asked for otherwise, finished or not, makes room."""

        def kept() -> Any:
            rows = self._bench.rows(
                "run_as_asked",
                name=self._name(asked.suffix),
                encoder=self._stored,
                n=asked.n,
                query_filter=Jsonb(asked.queries.given),
                index_filter=Jsonb(asked.index.given),
                exclude_same_patient=asked.exclude_same_patient,
            )
            return rows[0] if rows else None

        def finished() -> Facts | None:
            run = kept()
            if run is None or not run.finished or not run.alike:
                return None
            name = self._name(asked.suffix)
            return {"encoder": self._stored, "run": name, "run_id": run.run_id, "queries": run.query_count}

        def make_room() -> None:
            run = kept()
            if run is not None and (run.finished or not run.alike):
                self._drop_run(asked.suffix)

        def retrieve(progress: Progress) -> Facts:
            self._bench.db.retrieve(
                encoder=self._stored,
                n=asked.n,
                queries=asked.queries,
                index=asked.index,
                exclude_same_patient=asked.exclude_same_patient,
                name=self._name(asked.suffix),
                progress=progress,
            )
            return _there(finished())

        return self._step(
            kind, retrieve, needs, inputs, lambda facts: finished() == facts, estimate, finished, make_room
        )

    def _storing(
        self,
        kind: str,
        suffix: str,
        drop: str,
        make: Callable[[str, Progress], object],
        needs: tuple[str, ...],
        estimate: Estimate,
        inputs: Callable[[], Facts] | None = None,
    ) -> Step:
        """A step that stores a classification, an ablation or a map; one of its name makes room."""

        def finished() -> Facts | None:
            stored = "ablation" if kind == "ablate" else kind
            rows = self._bench.rows(
                "stored_results", name=self._name(suffix), kind=stored, datasets=Jsonb(self._bench.datasets)
            )
            return rows[0].facts if rows else None

        def make_room() -> object:
            return self._bench.db.query(drop, {"name": self._name(suffix)})

        def store(progress: Progress) -> Facts:
            make(self._name(suffix), progress)
            return _there(finished())

        return self._step(
            kind,
            store,
            needs,
            inputs or self._inputs,
            lambda facts: finished() == facts,
            estimate,
            finished,
            make_room,
        )

    def _inputs(self) -> dict[str, Any]:
        suite = {name: value for name, value in asdict(self._bench.suite).items() if name != "about"}
        return {
            "program": self._bench.program,
            "parameters": suite,
            "datasets": self._bench.datasets,
            "catalogue": self._bench.catalogue(),
            **self._bench.vectors(self._stored),
        }

    def _same_patient_inputs(self) -> Facts:
        if not self._bench.rows("patients_in_both", datasets=self._bench.datasets)[0].found:
            raise NotApplicableError("no patient is known to have images among both queries and index")
        return self._inputs()

    def _covid_inputs(self) -> Facts:
        counts = self._bench.rows("labelled_counts")
        if not {"train", "test"} <= {each.split for each in counts if each.dataset == COVID}:
            raise NotApplicableError(f"the catalogue has no dataset {COVID} with images to train and test")
        return self._inputs() | {"covid": self._bench.catalogue(COVID)}

    def _val_inputs(self) -> Facts:
        if not self._bench.labelled("val"):
            raise NotApplicableError("there is no validation image with exactly one label")
        return self._inputs()

    def _name(self, suffix: str = "") -> str:
        return f"bench-{self._bench.suite.name}-{self._stored}{suffix}"

    def _drop_run(self, suffix: str) -> None:
        db, name = self._bench.db, self._name(suffix)
        unfinished = [each for each in db.unfinished_runs() if each.name == name]
        if any(each.state == "running" for each in unfinished):
            raise RunError(
                f"another process computes run {name}, of other images or by other parameters: wait for it, or give "
                "one of the two benchmarks another database"
            )
        if unfinished or any(each.name == name for each in db.runs()):
            db.drop_run(name)

    def _evaluate(self, progress: Progress) -> Facts:
        progress.begin("metrics and intervals", "metrics", None)
        metrics = self._bench.db.evaluate(self._name(), metric="all")
        file = self._bench.out / "evaluation" / f"{self._encoder}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([_rounded(asdict(each)) for each in metrics], indent=1)
        with replaced(file) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
        return {"file": file.name, "sha256": _sha256(file.read_bytes())}

    def _file_is_there(self, facts: Facts) -> bool:
        file = self._bench.out / "evaluation" / str(facts["file"])
        return file.is_file() and _sha256(file.read_bytes()) == facts["sha256"]

    def _knn(self, name: str, progress: Progress) -> None:
        self._drop_run("-knn-test")
        self._bench.db.classify_knn(
            encoder=self._stored,
            max_k=self._bench.suite.max_k,
            datasets=self._bench.datasets,
            name=name,
            progress=progress,
        )

    def _linear(self, name: str, progress: Progress) -> None:
        self._bench.db.classify_linear(
            encoder=self._stored, datasets=self._bench.datasets, name=name, progress=progress
        )

    def _ablate(self, name: str, progress: Progress) -> None:
        suite = self._bench.suite
        try:
            self._bench.db.ablate_index_size(
                encoder=self._stored,
                sizes=suite.sizes,
                larger_than=suite.larger_than,
                queries=self._bench.images("test"),
                index=self._bench.images("train"),
                name=name,
                progress=progress,
            )
        except RunError as reason:
            raise NotApplicableError(str(reason)) from None

    def _map(self, name: str, progress: Progress) -> None:
        try:
            self._bench.db.map(
                encoder=self._stored, where=Filter(datasets=self._bench.datasets), name=name, progress=progress
            )
        except RunError as reason:
            raise NotApplicableError(str(reason)) from None

    def _labelled(self) -> int:
        return sum(self._bench.labelled(split) for split in get_args(Split))

    def _seconds_of(self, queries: Split, first: bool = False) -> Estimate:
        """Of a retrieval; the `first` one copies the vectors out."""
        return lambda: estimates.retrieving(
            self._bench.labelled(queries),
            self._bench.labelled("train"),
            self._bench.dim(self._encoder),
            copied=self._labelled() if first else 0,
        )


def _there(facts: Facts | None) -> Facts:
    if facts is None:
        raise RunError("what was just stored is gone: another process works on a benchmark of this name")
    return facts


def _rounded(metric: dict[str, Any]) -> dict[str, Any]:
    """The values to so many digits as do not depend on the order in which the database has added them up."""
    return {name: round(value, _DIGITS) if isinstance(value, float) else value for name, value in metric.items()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
