"""The data checked before anything is computed: its counts beside those of Table 5."""

from typing import Any

from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, Step
from medcbir.bench.suites import COVID
from medcbir.errors import InputError
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
            {
                "dataset": each.dataset,
                "modality": each.modality,
                "split": each.split,
                "images": each.images,
                "published": published_counts(each.dataset, "").get(each.modality, {}).get(each.split or ""),
            }
            for each in bench.rows("labelled_counts")
            if each.dataset in bench.datasets
        ]
        return {"counts": counts}

    return Step("data", lambda: {"catalogue": bench.catalogue()}, count, needs=needs, estimate=lambda: 5.0)


def differences(facts: Facts) -> list[str]:
    """What the counts of step `data` have more or less than published, in words."""
    found: list[dict[str, Any]] = [each for each in facts.get("counts", []) if each["published"] is not None]
    return [
        f"{each['dataset']} {each['modality']} {each['split']}: {each['images']:,} images, "
        f"{abs(each['images'] - each['published']):,} {'more' if each['images'] > each['published'] else 'fewer'} "
        "than published"
        for each in found
        if each["images"] != each["published"]
    ]
