"""Numbers about runs: metrics, comparisons, leakage, neighbours, the size of the index, and a map of the vectors."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medcbir.api.encoders import Encoders
from medcbir.api.runs import Runs, as_filter
from medcbir.encoders import DEFAULT
from medcbir.errors import InputError
from medcbir.store.encoders import find_encoder
from medcbir.types import Filter, Metric, Progress, Run, Split

if TYPE_CHECKING:
    from medcbir.evaluation.ablation import Ablation
    from medcbir.evaluation.compare import Comparison
    from medcbir.evaluation.layout import Method
    from medcbir.evaluation.metrics import Facet
    from medcbir.evaluation.neighbours import Agreement, Hub, Hubness, Silhouette
    from medcbir.evaluation.projection import Projection


class Evaluation(Encoders, Runs):
    """How good stored runs are."""

    def evaluate(
        self,
        run: Run | str | None = None,
        *,
        n: Sequence[int] | None = None,
        by: "Facet | Sequence[Facet] | None" = None,
        metric: str | Sequence[str] = "precision",
        possible_only: bool = False,
        intervals: bool = True,
    ) -> list[Metric]:
        """Metrics of a run (the newest without one), micro and macro; per group of one facet, or of two, with `by`.

        P@N by both definitions, unless `metric` names others or 'all' (see docs/evaluation.md). With `possible_only`
        queries without a relevant image that they may retrieve take no part; without `intervals` there are no 95 %
        intervals, which take most of the time on a large run. `medcbir.frame` makes a data frame of it.
        """
        from medcbir.evaluation.metrics import evaluate

        run = self._run(run)
        with self._open() as connection:
            return evaluate(
                connection, run, n=n, by=by, metric=metric, possible_only=possible_only, intervals=intervals
            )

    def compare(
        self,
        runs: "Sequence[Run | str]",
        *,
        n: Sequence[int] | None = None,
        by: "Facet | Sequence[Facet] | None" = None,
        metric: str | Sequence[str] = "precision",
    ) -> "Comparison":
        """How metrics of every pair of runs differ on their common queries, with intervals, p, and p after Holm.

        P@N by both definitions, unless `metric` names others; per group of one facet, or of two, with `by`.
        """
        from medcbir.evaluation.compare import compare
        from medcbir.evaluation.metrics import wanted_n

        found = [self._run(run) for run in runs]
        if not found:
            raise InputError("give two or more runs to compare")
        with self._open() as connection:
            return compare(connection, found, wanted_n(found, n), metric=metric, by=by)

    def leakage(
        self,
        run: Run | str,
        *,
        n: Sequence[int] | None = None,
        by: "Facet | Sequence[Facet] | None" = None,
        metric: str | Sequence[str] = "precision",
        within: float = 0.01,
    ) -> "Comparison":
        """A run less itself without hits of the query's patient, without duplicates of it, and without both.

        A near duplicate lies `within` this cosine distance. P@N by both definitions, unless `metric` names others or
        'all'; per group of one facet, or of two, with `by`; beside each whether the encoder has `seen` the dataset.
        """
        from medcbir.evaluation.compare import leakage
        from medcbir.evaluation.metrics import wanted_n

        run = self._run(run)
        seen = self.seen(run.encoder)
        with self._open() as connection:
            return leakage(connection, run, wanted_n([run], n), within, metric=metric, by=by, seen=seen)

    def silhouettes(self, run: Run | str | None = None) -> "list[Silhouette]":
        """How far apart classes lie around the queries of a run (the newest without one): micro, macro, of each class.

        Over the hits that the run keeps. `medcbir.frame` makes a data frame of it, as of what follows.
        """
        from medcbir.evaluation.neighbours import silhouettes

        run = self._run(run)
        with self._open() as connection:
            return silhouettes(connection, run)

    def hubness(self, run: Run | str | None = None, *, k: Sequence[int] | None = None) -> "list[Hubness]":
        """How unequally a run (the newest without one) retrieves the images of its index among the first k hits.

        Without `k` those of 1, 3, 5, 10 that the run reaches.
        """
        from medcbir.evaluation.metrics import wanted_n
        from medcbir.evaluation.neighbours import hubness

        run = self._run(run)
        with self._open() as connection:
            return hubness(connection, run, wanted_n([run], k))

    def hubs(self, run: Run | str | None = None, *, k: int | None = None, limit: int = 10) -> "list[Hub]":
        """The images that a run (the newest without one) retrieves most often among the first k hits.

        Without `k` 10, or fewer where the run keeps fewer.
        """
        from medcbir.evaluation.metrics import wanted_n
        from medcbir.evaluation.neighbours import hubs

        run = self._run(run)
        with self._open() as connection:
            return hubs(connection, run, wanted_n([run], None if k is None else [k])[-1], limit)

    def agreement(self, runs: "Sequence[Run | str]", *, n: Sequence[int] | None = None) -> "list[Agreement]":
        """How alike every pair of runs retrieves, on the queries of both; view agreement_query has each query's."""
        from medcbir.evaluation.metrics import wanted_n
        from medcbir.evaluation.neighbours import agreement

        found = [self._run(run) for run in runs]
        if len(found) < 2:
            raise InputError("give two or more different runs")
        with self._open() as connection:
            return agreement(connection, found, wanted_n(found, n))

    def ablate_index_size(
        self,
        *,
        encoder: str = DEFAULT,
        sizes: Sequence[int] = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 3000),
        larger_than: int | None = None,
        queries_per_class: int | None = None,
        n: Sequence[int] = (1,),
        seeds: int = 5,
        seed: int = 0,
        queries: "Split | Filter | None" = "test",
        index: "Split | Filter | None" = "train",
        exclude_same_patient: bool = True,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> "Ablation":
        """P@N against the number of index images per class (Denner et al. 2024, figure 3 B), stored and returned.

        Classes with more than `larger_than` index images (by default the largest of `sizes`) take part, each with
        equally many queries; the index is drawn by `seeds` seeds from `seed` on. A `name` must be free.
        """
        from medcbir.evaluation.ablation import index_size

        with self._open() as connection:
            return index_size(
                connection,
                find_encoder(connection, encoder),
                sizes=sizes,
                larger_than=larger_than,
                queries_per_class=queries_per_class,
                n=n,
                seeds=seeds,
                seed=seed,
                queries=as_filter(queries),
                index=as_filter(index),
                exclude_same_patient=exclude_same_patient,
                cache_dir=self.settings.data_dir / "cache",
                name=name,
                progress=progress,
            )

    def map(
        self,
        *,
        encoder: str = DEFAULT,
        method: "Method" = "tsne",
        where: "Split | Filter | None" = None,
        limit: int | None = None,
        seed: int = 0,
        perplexity: float | None = None,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> "Projection":
        """Lay images out in two dimensions by their vectors (Denner et al. 2024, figure 5), stored and returned.

        `method` is tsne or pacmap; `limit` draws a sample by `seed`. The points are in view `projection_image`.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as for encoding: spinning threads starve a busy machine
        from medcbir.evaluation.projection import project

        with self._open() as connection:
            return project(
                connection,
                find_encoder(connection, encoder),
                method=method,
                where=as_filter(where),
                limit=limit,
                seed=seed,
                perplexity=perplexity,
                name=name,
                cache_dir=self.settings.data_dir / "cache",
                progress=progress,
            )
