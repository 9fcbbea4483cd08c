"""Duplicates: images with equal pixels, and near ones among the hits of a run."""

from typing import Any

from medcbir.api.runs import Runs
from medcbir.types import Duplicate, Run


class Duplicates(Runs):
    """Images that are there more than once, and leaks between splits."""

    def duplicates(self) -> list[Duplicate]:
        """Images whose decoded pixels equal another's (view `duplicate_image`), leaks between splits first."""
        return self._duplicates("duplicates", {})

    def near_duplicates(self, run: Run | str, *, within: float = 0.01) -> list[Duplicate]:
        """Query and hit pairs of a run with other pixels and at most this cosine distance, the nearest first."""
        run = self._run(run)
        return self._duplicates("near_duplicates", {"run_id": run.run_id, "within": within})

    def _duplicates(self, name: str, arguments: dict[str, Any]) -> list[Duplicate]:
        return [Duplicate(**{"distance": None, **row}) for row in self._rows(name, arguments)]
