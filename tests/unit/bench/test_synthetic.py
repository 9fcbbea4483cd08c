"""The synthetic collection: the paper's counts, its long tail, and what follows from its geometry."""

import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from medcbir.bench.scale import brute_force
from medcbir.bench.synthetic import SMALLEST_SCALE, SPLITS, Collection, apportion, class_sizes
from medcbir.types import Silent

WHOLE = Collection()
SMALL = Collection(scale=0.005, dim=64)
SMALLEST = Collection(scale=SMALLEST_SCALE, dim=8)


def test_counts_are_those_of_table_5() -> None:
    counts = {(each.dataset, each.modality): each.counts.sum(axis=0).tolist() for each in WHOLE.groups}
    assert counts == {
        ("radimagenet", "MR"): [460_479, 48_820, 57_103],
        ("radimagenet", "CT"): [202_521, 24_660, 63_198],
        ("radimagenet", "US"): [313_569, 27_417, 31_072],
        ("nih14", "XR"): [66_192, 7_279, 17_853],
        ("mimic", "XR"): [229_597, 1_775, 2_473],
        ("chexpert", "XR"): [50_194, 5_587, 54],
    }
    assert WHOLE.size == 1_322_552 + 115_538 + 171_753


def test_classes_are_as_many_and_as_unequal_as_in_the_paper() -> None:
    sizes: Counter[str] = Counter()
    for group in WHOLE.groups:
        sizes.update(dict(zip((each.name for each in group.labels), group.counts.sum(axis=1).tolist(), strict=True)))
    assert len(sizes) == len(WHOLE.labels) == 185
    assert Counter(label.kind for label in WHOLE.labels) == {"pathology": 161, "anatomy": 24}
    assert sizes.most_common(1) == [("XR/chest/No Finding", 226_361)]
    assert min(sizes.values()) == 13
    assert (WHOLE.groups[0].counts[:, 0] > 0).all()  # every class can be retrieved


def test_the_manifest_has_each_image_once_with_the_counts_and_patients_of_one_class(tmp_path: Path) -> None:
    SMALL.write_manifest(tmp_path / "m.csv")
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert len(rows) == len({row["uri"] for row in rows}) == SMALL.size
    found = Counter((row["dataset"], row["modality"], row["split"]) for row in rows)
    for group in SMALL.groups:
        for split, count in zip(SPLITS, group.counts.sum(axis=0).tolist(), strict=True):
            assert found[group.dataset, group.modality, split] == count
    classes, splits, images = {}, {}, Counter(row["patient"] for row in rows)
    for row in rows:
        classes.setdefault(row["patient"], set()).add((row["modality"], row["region"], row["finding"]))
        splits.setdefault((row["dataset"], row["patient"]), set()).add(row["split"])
    assert {len(each) for each in classes.values()} == {1}
    assert 1.5 < np.mean(list(images.values())) <= 4
    straddling = Counter(dataset for (dataset, _), each in splits.items() if len(each) > 1)
    assert straddling.keys() == {"radimagenet"}


def test_the_same_seed_gives_the_same_vectors_and_another_seed_others() -> None:
    [first, again, other] = [next(iter(c.images())) for c in (SMALL, Collection(scale=0.005, dim=64), SMALL)]
    vectors = SMALL.vectors(first)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors, Collection(scale=0.005, dim=64).vectors(again))
    assert not np.allclose(vectors, Collection(scale=0.005, dim=64, seed=1).vectors(other), atol=0.1)


def test_where_classes_lie_far_apart_every_hit_is_of_the_querys_class_while_there_are_any() -> None:
    apart = Collection(scale=0.002, separability=8.0)
    classes, index = {}, Counter()
    for images in apart.images():
        classes |= dict(zip(images.uris, images.classes.tolist(), strict=True))
        index.update(images.classes[images.splits == 0].tolist())
    hits = brute_force(apart, 100, 5, Silent())
    assert len(hits) == 100
    for query, (uris, distances) in hits.items():
        relevant = sum(classes[uri] == classes[query] for uri in uris)
        assert all(low <= high for low, high in pairwise(distances))
        assert relevant >= min(5, index[classes[query]] - 4)  # up to four are of the query's patient


def test_separability_decides_how_often_the_nearest_image_is_of_the_class() -> None:
    found = []
    for separability in (0.0, 0.3, 8.0):
        collection = Collection(scale=0.002, separability=separability)
        classes = {}
        for images in collection.images():
            classes |= dict(zip(images.uris, images.classes.tolist(), strict=True))
        hits = brute_force(collection, 200, 1, Silent())
        found.append(np.mean([classes[query] == classes[uris[0]] for query, (uris, _) in hits.items()]))
    assert found[0] < 0.15 < found[1] < found[2]


@pytest.mark.parametrize(("total", "shares", "most"), [(10, [1.0, 1.0, 1.0], None), (7, [5.0, 1.0, 1.0], [2, 9, 9])])
def test_a_total_is_divided_exactly_and_within_bounds(total: int, shares: list[float], most: list[int] | None) -> None:
    parts = apportion(total, np.array(shares), None if most is None else np.array(most))
    assert parts.sum() == total
    assert most is None or (parts <= most).all()


def test_sizes_fall_to_the_smallest_and_sum_up() -> None:
    sizes = class_sizes(10_000, 13, 40)
    assert sizes.sum() == 10_000
    assert sizes[-1] == 13
    assert (np.diff(sizes) <= 0).all()


def test_the_smallest_collection_has_every_class_and_every_split() -> None:
    for small, whole in zip(SMALLEST.groups, WHOLE.groups, strict=True):
        assert small.labels == whole.labels
        assert (small.counts >= 0).all()
        assert (small.counts[:, 0] > 0).all()
        assert (small.counts.sum(axis=0) > 0).all()
        wanted = whole.counts.sum(axis=0) * SMALLEST_SCALE
        assert np.allclose(small.counts.sum(axis=0), wanted, atol=1)
