"""The data checked before anything is computed: its counts beside those of Table 5."""

from dataclasses import asdict
from typing import Any

from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, Step
from medcbir.bench.suites import COVID
from medcbir.errors import InputError
from medcbir.evaluation.published import count_beside_published
from medcbir.ingest.survey import published_counts
from medcbir.types import Progress


def published_datasets(bench: Bench) -> list[str]:
    """The catalogue's datasets that the paper combines, or where it has none of these, all but that of Table 3.

    Raises `InputError` where there is no image with exactly one label.
    """
    names = list(dict.fromkeys(each.dataset for each in bench.rows("labelled_counts")))
    others = [name for name in names if name != COVID]
    if not others:
        raise InputError(
            "the catalogue has no image with exactly one label: bring images (`medcbir ingest`), or try --suite smoke, "
            "which has its own"
        )
    return [name for name in others if published_counts(name, "")] or others


def counting_step(bench: Bench, needs: tuple[str, ...] = ()) -> Step:
    """The step `data`: images of each dataset, modality and split, the published number, and the difference."""

    def count(_: Progress) -> Facts:
        counts = [
            {"dataset": each.dataset, "modality": each.modality, "split": each.split, "images": each.images}
            | asdict(count_beside_published(each.images, each.dataset, each.modality, each.split))
            for each in bench.rows("labelled_counts")
            if each.dataset in bench.datasets
        ]
        return {"counts": counts}

    def inputs() -> Facts:
        return {"program": bench.program, "catalogue": bench.catalogue()}

    return Step("data", inputs, count, needs=needs, estimate=lambda: 3.0)


def differences(facts: Facts) -> list[str]:
    """What the counts of step `data` have more or less than published, in words."""
    counts: list[dict[str, Any]] = facts.get("counts", [])
    return [
        f"{each['dataset']} {each['modality']} {each['split']}: {each['images']:,} images, "
        f"{abs(each['difference']):,} {'more' if each['difference'] > 0 else 'fewer'} than published"
        for each in counts
        if each["difference"]
    ]
