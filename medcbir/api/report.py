"""Results for people to read: a picture of hits, and a report on runs."""

from collections.abc import Sequence
from pathlib import Path

from medcbir.api.runs import Runs
from medcbir.api.search import Search
from medcbir.types import Hit, Progress, Run, UInt8Image


class Reports(Search, Runs):
    """PNG and HTML files."""

    def save_grid(
        self,
        file: str | Path,
        hits: Sequence[Hit],
        *,
        image: "str | Path | UInt8Image | None" = None,
        image_id: int | None = None,
    ) -> None:
        """Draw the query (framed orange) and its hits as a PNG."""
        from medcbir.report.grid import save_grid

        with self._open() as connection:
            save_grid(connection, Path(file), hits, image=image, image_id=image_id, read=self.read_image)

    def report(
        self, runs: "Sequence[Run | str]" = (), *, out: str | Path, progress: Progress | None = None
    ) -> list[Path]:
        """Write a report on these runs, or on the newest of each encoder, into the folder `out`; return its files.

        With what else there is of their encoders: classifications, ablation, map. See `medcbir.report.write_benchmark`.
        """
        from medcbir.report.stored import write_stored

        found = [self._run(run) for run in runs]
        with self._open() as connection:
            return write_stored(
                connection,
                Path(out),
                found,
                read=self.read_image,
                encoders_dir=self.settings.encoders_dir,
                progress=progress,
            )
