"""What sections are made from: the results asked about, and the views that their numbers are read from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.rows import namedtuple_row

from medcbir.encoders import EncoderSpec
from medcbir.evaluation.metrics import Facet, evaluate, wanted_n
from medcbir.report.contents import EncoderResults, Provenance
from medcbir.report.registry import spec_of, title_of
from medcbir.report.tiles import Read
from medcbir.retrieval.run import find_run
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.types import Metric, Run


@dataclass
class Material:
    """The database, the results that a report is about, and what has been read of them so far."""

    connection: Connection
    results: Sequence[EncoderResults]
    provenance: Provenance
    read: Read
    encoders_dir: Path | None = None
    seed: int = 42
    _specs: dict[str, EncoderSpec | None] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)
    _metrics: dict[tuple[Any, ...], list[Metric]] = field(default_factory=dict)

    def rows(self, name: str, **values: Any) -> list[Any]:
        """Rows of `sql/queries/<name>.sql`, with their columns as attributes."""
        with self.connection.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(query(name), values).fetchall()

    def run(self, name: str) -> Run:
        """A run by its name."""
        if name not in self._runs:
            self._runs[name] = find_run(self.connection, name)
        return self._runs[name]

    @property
    def retrieved(self) -> list[tuple[EncoderResults, Run]]:
        """Results that have a run with labelled queries, each with it."""
        found = [(each, self.run(each.run)) for each in self.results if each.run]
        return [(each, run) for each, run in found if run.labelled_queries]

    @property
    def run_ids(self) -> list[int]:
        """Ids of the runs of the report's encoders."""
        return [run.run_id for _, run in self.retrieved]

    def sizes(self) -> list[int]:
        """The N that all runs reach."""
        return wanted_n([run for _, run in self.retrieved], None)

    def metrics(self, run: Run, n: Sequence[int], *, by: Facet | None = None, intervals: bool = True) -> list[Metric]:
        """P@N of a run by both definitions."""
        key = (run.name, tuple(n), by, intervals)
        if key not in self._metrics:
            self._metrics[key] = evaluate(self.connection, run, n=n, by=by, intervals=intervals)
        return self._metrics[key]

    def spec_of(self, encoder: str) -> EncoderSpec | None:
        """The registry's entry of a stored encoder; None if there is none."""
        if encoder not in self._specs:
            self._specs[encoder] = spec_of(encoder, self.encoders_dir)
        return self._specs[encoder]

    def title_of(self, encoder: str) -> str:
        """What readers call a stored encoder."""
        return title_of(encoder, self.spec_of(encoder))

    def key_of(self, result: EncoderResults) -> str:
        """What tells a result from the others: its encoder, or its run where the encoder has several."""
        return result.run if result.run and self._shares_its_encoder(result) else result.encoder

    def name_of(self, result: EncoderResults) -> str:
        """What readers call a result."""
        title = self.title_of(result.encoder)
        return f"{title}, run {result.run}" if result.run and self._shares_its_encoder(result) else title

    def _shares_its_encoder(self, result: EncoderResults) -> bool:
        return [each.encoder for each in self.results].count(result.encoder) > 1

    def headline(self) -> tuple[EncoderResults, Run, Metric] | None:
        """The encoder with the highest micro P@N at the smallest N, its run, and that number."""
        found = [
            (result, run, metric)
            for result, run in self.retrieved
            for metric in self.metrics(run, self.sizes())
            if (metric.n, metric.average, metric.definition) == (self.sizes()[0], "micro", "paper")
            and metric.value is not None
        ]
        return max(found, key=lambda each: each[2].value or 0.0, default=None)
