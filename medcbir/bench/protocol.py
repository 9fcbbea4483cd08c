"""The paper's protocol for one encoder, whose vectors are there or made by an earlier step (Denner et al. 2024).

Each step is one call of the Python interface. Its inputs are the catalogue, the vectors and the parameters; its facts
are names and ids of what stands in the database, from which the report reads every number.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, get_args

from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, NotApplicableError, Runner, Step
from medcbir.bench.suites import COVID
from medcbir.errors import RunError
from medcbir.store.vector_files import replaced
from medcbir.types import Filter, Progress, Split

_DIGITS = 12
_FLOPS = 1.5e11  # of matrix products per second, on two cores
_PROBED = 3e5  # vectors per second that a linear probe is trained on, on two cores
_MAPPED = 1e3  # images per second of t-SNE with its neighbours, on two cores
_DRAWN = 2e4  # index images per second of an ablation with all its draws, on two cores


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
        retrieve = self._step("retrieve", self._retrieve, needs=self._made_by, estimate=self._seconds_of("test"))
        name = retrieve.name
        return [
            retrieve,
            self._step("evaluate", self._evaluate, needs=(name,), holds=self._file_is_there),
            self._step(
                "same-patient",
                self._same_patient,
                needs=(name,),
                inputs=self._same_patient_inputs,
                estimate=self._seconds_of("test"),
            ),
            self._step("covid", self._covid, needs=self._made_by, inputs=self._covid_inputs),
            self._step(
                "neighbours",
                self._neighbours,
                needs=self._made_by,
                inputs=self._val_inputs,
                estimate=self._seconds_of("val"),
            ),
            self._step(
                "knn",
                self._knn,
                needs=(name, f"neighbours-{self._encoder}"),
                holds=self._classification_is_there,
                estimate=self._seconds_of("test"),
            ),
            self._step(
                "linear",
                self._linear,
                needs=self._made_by,
                inputs=self._val_inputs,
                holds=self._classification_is_there,
                estimate=lambda: 40 * self._bench.labelled("train") / _PROBED,
            ),
            self._step(
                "ablate",
                self._ablate,
                needs=self._made_by,
                holds=self._ablation_is_there,
                estimate=lambda: 5 + self._bench.labelled("train") / _DRAWN,
            ),
            self._step(
                "map",
                self._map,
                needs=self._made_by,
                holds=self._map_is_there,
                estimate=lambda: 5 + sum(self._bench.labelled(split) for split in get_args(Split)) / _MAPPED,
            ),
        ]

    def _step(
        self,
        kind: str,
        action: Callable[[Progress], Facts],
        *,
        needs: tuple[str, ...],
        inputs: Callable[[], Facts] | None = None,
        holds: Callable[[Facts], bool] | None = None,
        estimate: Callable[[], float | None] = lambda: 5.0,
    ) -> Step:
        return Step(kind, inputs or self._inputs, action, self._encoder, needs, holds or self._run_is_there, estimate)

    def _inputs(self) -> dict[str, Any]:
        suite = {name: value for name, value in asdict(self._bench.suite).items() if name != "about"}
        return {
            "program": self._bench.program,
            "parameters": suite,
            "datasets": self._bench.datasets,
            "catalogue": self._bench.catalogue(),
            **self._bench.vectors(self._stored),
        }

    def _run_name(self, suffix: str = "") -> str:
        return f"bench-{self._bench.suite.name}-{self._stored}{suffix}"

    def _fresh(self, suffix: str, queries: Filter, index: Filter, n: int, progress: Progress, **options: Any) -> Facts:
        """A run under the name with this suffix, in the place of one that other inputs gave."""
        name = self._run_name(suffix)
        self._drop(name)
        run = self._bench.db.retrieve(
            encoder=self._stored, n=n, queries=queries, index=index, name=name, progress=progress, **options
        )
        return {"encoder": self._stored, "run": run.name, "run_id": run.run_id, "queries": run.queries}

    def _drop(self, name: str) -> None:
        if (old := self._bench.found_run(name)) is not None:
            self._bench.db.query("SELECT drop_run(%(run_id)s)", {"run_id": old.run_id})

    def _retrieve(self, progress: Progress) -> Facts:
        images = self._bench.images
        return self._fresh("", images("test"), images("train"), self._bench.suite.n, progress)

    def _same_patient_inputs(self) -> Facts:
        if not self._bench.rows("patients_in_both", datasets=self._bench.datasets)[0].found:
            raise NotApplicableError("no patient is known to have images among both queries and index")
        return self._inputs()

    def _same_patient(self, progress: Progress) -> Facts:
        images = self._bench.images
        return self._fresh(
            "-same-patient",
            images("test"),
            images("train"),
            self._bench.suite.n,
            progress,
            exclude_same_patient=False,
        )

    def _covid_inputs(self) -> Facts:
        counts = self._bench.rows("labelled_counts")
        if not {"train", "test"} <= {each.split for each in counts if each.dataset == COVID}:
            raise NotApplicableError(f"the catalogue has no dataset {COVID} with images to train and test")
        return self._inputs() | {"covid": self._bench.catalogue(COVID)}

    def _covid(self, progress: Progress) -> Facts:
        queries, index = (Filter(dataset=COVID, split=split) for split in ("test", "train"))
        return self._fresh("-covid", queries, index, self._bench.suite.n, progress)

    def _val_inputs(self) -> Facts:
        if not self._bench.labelled("val"):
            raise NotApplicableError("there is no validation image with exactly one label")
        return self._inputs()

    def _neighbours(self, progress: Progress) -> Facts:
        images = self._bench.images
        return self._fresh("-val", images("val"), images("train"), self._bench.suite.max_k, progress)

    def _knn(self, progress: Progress) -> Facts:
        self._drop(self._run_name("-test"))
        made = self._bench.db.classify_knn(
            encoder=self._stored,
            max_k=self._bench.suite.max_k,
            datasets=self._bench.datasets,
            name=self._run_name(),
            progress=progress,
        )
        return {"classification": made.classification_id, "k": made.k}

    def _linear(self, progress: Progress) -> Facts:
        made = self._bench.db.classify_linear(encoder=self._stored, datasets=self._bench.datasets, progress=progress)
        return {"classification": made.classification_id, "epochs": made.certificate["epochs_run"]}

    def _ablate(self, progress: Progress) -> Facts:
        suite = self._bench.suite
        try:
            made = self._bench.db.ablate_index_size(
                encoder=self._stored,
                sizes=suite.sizes,
                larger_than=suite.larger_than,
                queries=self._bench.images("test"),
                index=self._bench.images("train"),
                progress=progress,
            )
        except RunError as reason:
            raise NotApplicableError(str(reason)) from None
        return {"ablation": made.ablation_id, "classes": made.classes, "queries_per_class": made.queries_per_class}

    def _map(self, progress: Progress) -> Facts:
        name = self._run_name()
        self._bench.db.query(
            "SELECT drop_projection(projection_id) FROM projection WHERE name = %(name)s", {"name": name}
        )
        try:
            made = self._bench.db.map(
                encoder=self._stored, where=Filter(datasets=self._bench.datasets), name=name, progress=progress
            )
        except RunError as reason:
            raise NotApplicableError(str(reason)) from None
        return {"projection": made.projection_id, "images": made.images}

    def _map_is_there(self, facts: Facts) -> bool:
        arguments = {"id": facts["projection"]}
        return bool(self._bench.db.query("SELECT FROM projection WHERE projection_id = %(id)s", arguments))

    def _evaluate(self, progress: Progress) -> Facts:
        progress.begin("metrics and intervals", "metrics", None)
        metrics = self._bench.db.evaluate(self._run_name(), metric="all")
        file = self._bench.out / "evaluation" / f"{self._encoder}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([_rounded(asdict(each)) for each in metrics], indent=1)
        with replaced(file) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
        return {"file": file.name, "sha256": _sha256(file.read_bytes())}

    def _file_is_there(self, facts: Facts) -> bool:
        file = self._bench.out / "evaluation" / str(facts["file"])
        return file.is_file() and _sha256(file.read_bytes()) == facts["sha256"]

    def _run_is_there(self, facts: Facts) -> bool:
        run = self._bench.found_run(str(facts["run"]))
        return run is not None and run.run_id == facts["run_id"]

    def _classification_is_there(self, facts: Facts) -> bool:
        arguments = {"id": facts["classification"]}
        return bool(self._bench.db.query("SELECT FROM classification WHERE classification_id = %(id)s", arguments))

    def _ablation_is_there(self, facts: Facts) -> bool:
        return bool(self._bench.db.query("SELECT FROM ablation WHERE ablation_id = %(id)s", {"id": facts["ablation"]}))

    def _seconds_of(self, queries: Split) -> Callable[[], float]:
        """An estimate of a retrieval: its multiplications, and two seconds for what does not grow."""
        return lambda: 2 + 2 * 512 * self._bench.labelled(queries) * self._bench.labelled("train") / _FLOPS


def _rounded(metric: dict[str, Any]) -> dict[str, Any]:
    """The values to so many digits as do not depend on the order in which the database has added them up."""
    return {name: round(value, _DIGITS) if isinstance(value, float) else value for name, value in metric.items()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
