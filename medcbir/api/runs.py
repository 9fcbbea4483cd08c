"""Runs: the nearest index images of every query, stored; found, listed, dropped and written to files."""

from pathlib import Path

from medcbir.api.session import Session
from medcbir.encoders import DEFAULT
from medcbir.store.encoders import find_encoder
from medcbir.types import Filter, Progress, Run, Split, UnfinishedRun


class Runs(Session):
    """Stored retrievals of many queries, for `evaluate` and SQL."""

    def retrieve(
        self,
        *,
        encoder: str = DEFAULT,
        n: int = 10,
        queries: "Split | Filter | None" = "test",
        index: "Split | Filter | None" = "train",
        exclude_same_patient: bool = True,
        exclude_same_study: bool = False,
        exclude_duplicates: bool = False,
        engine: str = "auto",
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Retrieve the `n` nearest index images of every query and store them as a run, for `evaluate` and SQL.

        `queries` and `index` are splits, filters, or None for all images. A query never retrieves itself, nor, by
        default, another image of its patient, nor, if asked, one of its study, or one whose decoded pixels equal its
        own; images with several labels take no part (Denner et al. 2024). `engine` is pgvector (a statement per
        query), blocked (matrix products; the same hits) or auto, by the size of the work.

        Processes that call this at once with one `name` share the work. A run that was interrupted is gone on with by
        the same call, or begun again if images or vectors have changed; until it is finished, nothing shows it.
        """
        from medcbir.retrieval import run
        from medcbir.retrieval.image_sets import Exclusions

        with self._open() as connection:
            return run.retrieve(
                connection,
                self._another,
                find_encoder(connection, encoder),
                n=n,
                queries=as_filter(queries),
                index=as_filter(index),
                exclusions=Exclusions(exclude_same_patient, exclude_same_study, exclude_duplicates),
                engine=engine,
                name=name,
                cache_dir=self.settings.data_dir / "cache",
                progress=progress,
            )

    def run(self, name: str | None = None) -> Run:
        """The run of this name, the newest without one."""
        from medcbir.retrieval.run import find_run

        with self._open() as connection:
            return find_run(connection, name)

    def _run(self, run: Run | str | None) -> Run:
        """The run that is given, or else called so."""
        return run if isinstance(run, Run) else self.run(run)

    def runs(self) -> list[Run]:
        """All finished runs, the newest first."""
        from medcbir.retrieval.run import all_runs

        with self._open() as connection:
            return all_runs(connection)

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """Runs that are being computed, were interrupted, or failed, the newest first."""
        from medcbir.retrieval.sharing import unfinished_runs

        with self._open() as connection:
            return unfinished_runs(connection)

    def drop_run(self, name: str) -> None:
        """Remove a run with its hits, finished or not; an unfinished one without a name is meant by its number."""
        from medcbir.retrieval.run import drop_run

        with self._open() as connection:
            drop_run(connection, name)

    def export_run(self, run: Run | str | None, path: str | Path) -> list[Path]:
        """Write a run's hits (the newest's for None) as .parquet, .csv (the published knn.csv) or .trec with .qrels."""
        from medcbir.report.run_files import export_run

        run = self._run(run)
        with self._open() as connection:
            return export_run(connection, run, Path(path))


def as_filter(chosen: "Split | Filter | None") -> Filter:
    """The images of a split, or all of them for None, as a filter."""
    return chosen if isinstance(chosen, Filter) else Filter(split=chosen)
