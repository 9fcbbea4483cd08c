"""A collection of the paper's size and shape without an image: its counts, its long tail, patients, and vectors.

Per dataset, modality and split the counts are those of Table 5, its classes as many (185, 161 of them pathological);
sizes fall from class to class by a constant factor, from more than 226,000 images to 13. Nothing is drawn that is not
drawn again for the same seed, so that an expectation can be computed from the generator alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medcbir.ingest.survey import published_counts
from medcbir.labels.datasets import publisher_labels
from medcbir.types import Label, Split, Vectors

SPLITS: tuple[Split, ...] = ("train", "val", "test")
DATASETS = ("radimagenet", "nih14", "mimic", "chexpert")

SMALLEST_SCALE = 0.001
"""At which every class has an image yet."""

Counts = npt.NDArray[np.int64]

_REGIONS = {"MR": ("ankle", "brain", "hip", "knee", "shoulder", "spine", "abd"), "CT": ("abd", "lung")}
_SMALLEST = {"MR": 13, "CT": 60, "US": 900, "nih14": 110, "mimic": 500, "chexpert": 100}
"""Images of the smallest class of a modality of RadImageNet, or of a dataset of X-rays."""

_NO_FINDING = {"nih14": 60_361, "mimic": 150_000, "chexpert": 16_000}
"""Their class without finding, which is one class of all three: 226,361 images, the largest."""

_IMAGES_OF_PATIENT = 4
_STRADDLING = 10  # every tenth patient with queries has index images too, where a publisher has not split by patient
_CHUNK = 8192
_DIRECTIONS = (4093, 4099)  # primes: patients whose numbers differ by less than 16 million get other sums


@dataclass(frozen=True, slots=True)
class Group:
    """The images of one dataset and modality: `counts` (classes, 3) of train, val and test."""

    dataset: str
    modality: str
    labels: tuple[Label, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Images:
    """Some images in the collection's order, arrays (n,): class and patient numbers, place of the split in SPLITS."""

    group: Group
    first: int
    classes: Counts
    splits: Counts
    patients: Counts

    @property
    def uris(self) -> list[str]:
        """Their names, which hold the place in the collection."""
        return [
            f"synthetic/{self.group.dataset}/{self.group.modality}/{number:07}.png"
            for number in range(self.first, self.first + len(self.classes))
        ]


@dataclass(frozen=True)
class Collection:
    """All images of the paper times `scale`, with vectors of `dim` numbers.

    A vector is the sum of its class's direction times `separability`, its patient's times `of_patient`, and noise of
    about unit length; then of unit length. Classes of one modality, and more so of one region, lie close to each other.
    """

    scale: float = 1.0
    dim: int = 512
    separability: float = 0.28
    of_patient: float = 0.3
    seed: int = 0

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Datasets and modalities with their classes and counts."""
        return tuple(
            _group(dataset, modality, published, self.scale)
            for dataset in DATASETS
            for modality, published in published_counts(dataset, "").items()
        )

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """All classes; their places are the class numbers."""
        return tuple(dict.fromkeys(label for group in self.groups for label in group.labels))

    @property
    def size(self) -> int:
        """Images in all."""
        return sum(int(group.counts.sum()) for group in self.groups)

    @property
    def of_splits(self) -> dict[Split, int]:
        """Images of each split."""
        sums = np.sum([group.counts.sum(axis=0) for group in self.groups], axis=0)
        return dict(zip(SPLITS, sums.tolist(), strict=True))

    def images(self) -> Iterator[Images]:
        """All images, in order: by group, class and split, as folders have them, in chunks of one group."""
        first, first_patient = 0, 0
        for group in self.groups:
            numbers = np.array([self.labels.index(label) for label in group.labels])
            cells = group.counts.ravel()
            classes = np.repeat(numbers, 3).repeat(cells)
            splits = np.tile(np.arange(3), len(group.labels)).repeat(cells)
            patients, count = _patients(group.counts, straddling=group.dataset == "radimagenet")
            for start in range(0, len(classes), _CHUNK):
                part = slice(start, start + _CHUNK)
                yield Images(group, first + start, classes[part], splits[part], patients[part] + first_patient)
            first, first_patient = first + len(classes), first_patient + count

    def vectors(self, images: Images) -> Vectors:
        """The vectors (n, dim) of a chunk of `images`."""
        noise = np.random.default_rng([self.seed, 1, images.first]).standard_normal(
            (len(images.classes), self.dim), dtype=np.float32
        )
        vectors: Vectors = noise * np.float32(self.dim**-0.5)
        vectors += np.float32(self.separability) * self._centres[images.classes]
        one, other = self._directions
        of_patient = one[images.patients % len(one)] + other[images.patients % len(other)]
        vectors += np.float32(self.of_patient * 0.5**0.5) * of_patient
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def write_manifest(self, file: Path) -> None:
        """A manifest that `medcbir ingest --metadata-only` reads."""
        with file.open("w", encoding="utf-8") as stream:
            stream.write("uri,dataset,patient,split,modality,region,finding\n")
            for images in self.images():
                names = [f"{label.modality},{label.region},{label.finding}" for label in self.labels]
                stream.writelines(
                    f"{uri},{images.group.dataset},synthetic-{patient},{SPLITS[split]},{names[number]}\n"
                    for uri, patient, split, number in zip(
                        images.uris,
                        images.patients.tolist(),
                        images.splits.tolist(),
                        images.classes.tolist(),
                        strict=True,
                    )
                )

    @cached_property
    def _centres(self) -> Vectors:
        """A direction (classes, dim) of each class: of its modality, of its region there, and its own."""
        rng = np.random.default_rng([self.seed, 2])
        drawn: dict[tuple[str, ...], Vectors] = {}

        def direction(*names: str) -> Vectors:
            if names not in drawn:
                drawn[names] = _unit(rng.standard_normal((1, self.dim)))[0]
            return drawn[names]

        return _unit(
            np.stack(
                [
                    0.6 * direction(each.modality)
                    + 0.5 * direction(each.modality, each.region)
                    + direction(each.modality, each.region, str(each.finding))
                    for each in self.labels
                ]
            )
        )

    @cached_property
    def _directions(self) -> tuple[Vectors, ...]:
        rng = np.random.default_rng([self.seed, 3])
        return tuple(_unit(rng.standard_normal((count, self.dim))) for count in _DIRECTIONS)


def class_sizes(total: int, smallest: int, classes: int) -> Counts:
    """Sizes (classes,), descending, that sum to `total`: the last is `smallest`, each a constant times the next."""
    ranks = np.arange(classes)[::-1]
    low, high = 1.0, (total / smallest) ** (1 / (classes - 1))
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (smallest * middle**ranks).sum() < total else (low, middle)
    sizes = apportion(total - smallest, np.asarray(smallest * low**ranks, dtype=np.float64)[:-1])
    return np.append(sizes, smallest)


def apportion(total: int, shares: npt.NDArray[np.float64], most: Counts | None = None) -> Counts:
    """`total` in whole parts as near as can be to `shares` (n,), none above `most` (n,); by largest remainders."""
    exact = shares * (total / shares.sum())
    room = np.full(len(shares), total) if most is None else most
    parts: Counts = np.minimum(np.floor(exact).astype(np.int64), room)
    while (left := total - int(parts.sum())) > 0:
        wanting = np.flatnonzero(parts < room)
        nearest = wanting[np.argsort(parts[wanting] - exact[wanting], kind="stable")[:left]]
        parts[nearest] += 1
    return parts


def _group(dataset: str, modality: str, published: dict[str, int], scale: float) -> Group:
    total = sum(published[split] for split in SPLITS)
    labels = _labels(dataset, modality, published)
    if dataset == "radimagenet":
        sizes = class_sizes(total, _SMALLEST[modality], len(labels))
    else:
        normal = _NO_FINDING[dataset]
        sizes = np.append(normal, class_sizes(total - normal, _SMALLEST[dataset], len(labels) - 1))
    of_split = [max(1, round(published[split] * scale)) for split in SPLITS]
    return Group(dataset, modality, labels, _divided(sizes.astype(np.float64), of_split))


def _labels(dataset: str, modality: str, published: dict[str, int]) -> tuple[Label, ...]:
    """The publisher's own labels where the registry has them all, numbered findings else; normal ones first."""
    known = [label for label in publisher_labels(dataset).values() if label is not None and label.modality == modality]
    if not known:
        regions = _REGIONS[modality]
        known = [Label(modality, region, "normal", "anatomy") for region in regions]
        known += [
            Label(modality, regions[number % len(regions)], f"finding {number:03}", "pathology")
            for number in range(published["pathology"])
        ]
    return tuple(sorted(known, key=lambda label: label.kind))


def _divided(sizes: npt.NDArray[np.float64], of_split: list[int]) -> Counts:
    """Counts (classes, 3) whose columns sum to `of_split`, in the proportion of `sizes`; every class has an image."""
    whole = np.maximum(apportion(sum(of_split), sizes), 1)
    whole -= apportion(int(whole.sum()) - sum(of_split), whole - 1.0, whole - 1)
    tests = apportion(of_split[2], whole.astype(np.float64), whole - 1)
    vals = apportion(of_split[1], whole.astype(np.float64), whole - 1 - tests)
    return np.stack([whole - vals - tests, vals, tests], axis=1)


def _patients(counts: Counts, *, straddling: bool) -> tuple[Counts, int]:
    """The patient of each image, in the order of `images`, and how many there are.

    A patient has up to four images, of one class and split; some have images among queries and index of the class.
    """
    numbers = []
    first = 0
    for row in counts:
        of_train = np.arange(row[0]) // _IMAGES_OF_PATIENT + first
        first += -(-int(row[0]) // _IMAGES_OF_PATIENT)
        numbers.append(of_train)
        for images in row[1:]:
            blocks = np.arange(images) // _IMAGES_OF_PATIENT
            own = blocks + first
            if straddling and len(of_train):
                known = of_train[(blocks * _IMAGES_OF_PATIENT) % len(of_train)]
                own = np.where(blocks % _STRADDLING == 0, known, own)
            numbers.append(own)
            first += -(-int(images) // _IMAGES_OF_PATIENT)
    return np.concatenate(numbers), first


def _unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
