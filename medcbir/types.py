"""The frozen dataclasses that pass between rooms. They hold data and nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Split = Literal["train", "val", "test"]
LabelKind = Literal["pathology", "anatomy"]
Average = Literal["micro", "macro"]
Definition = Literal["paper", "capped"]

UInt8Image = npt.NDArray[np.uint8]
"""A displayable image: (height, width) grey or (height, width, 3) RGB, uint8."""

Vectors = npt.NDArray[np.float32]
"""(n, dim) float32, each row of unit L2 norm unless stated otherwise."""


@dataclass(frozen=True, slots=True)
class Label:
    """A class of the benchmark, `MODALITY/region/finding` (Denner et al. 2024, section 2.1)."""

    modality: str
    region: str
    finding: str | None
    kind: LabelKind

    @property
    def name(self) -> str:
        """The label as it is written and stored; a label without finding has two parts."""
        return "/".join(part for part in (self.modality, self.region, self.finding) if part)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image (or all frames of one file) as a source describes it, before a pixel has been read.

    `uri` is the image's identity within its dataset, as its publisher writes it; `path` is where its bytes are, None
    when it is catalogued without its file. `frame` None means every frame of the file.
    """

    uri: str
    dataset: str
    path: Path | None = None
    frame: int | None = None
    patient: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    modality: str | None = None
    region: str | None = None
    split: Split | None = None
    labels: tuple[Label, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What decoding one frame has shown: digests are SHA-256; the size is of the displayable image, in pixels."""

    file_sha256: bytes
    pixel_sha256: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalogue: a record completed by what its file says; `facts` is None without a file."""

    record: ImageRecord
    facts: FileFacts | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file or manifest row that did not become an image, and why.

    `kind` is 'unreadable' (should be an image and is not), 'not_an_image' (a text, a report) or 'invalid' (a malformed
    manifest row).
    """

    uri: str
    dataset: str
    reason: str
    kind: Literal["unreadable", "not_an_image", "invalid"] = "unreadable"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which images take part; None means no restriction. Values are compared exactly, as stored.

    `datasets` are those of a benchmark: a run, an ablation or a classification may go over several, a search not.
    `finding` is that of any of the image's labels; `named` is a filter that an administrator has defined
    (`medcbir filters`).
    """

    dataset: str | None = None
    datasets: list[str] | None = None
    modality: str | None = None
    region: str | None = None
    split: Split | None = None
    finding: str | None = None
    named: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What restricts, by name, as JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved image. `distance` is pgvector's cosine distance `v <=> q`; `similarity` is 1 - distance."""

    rank: int
    image_id: int
    uri: str
    frame: int
    distance: float
    similarity: float
    dataset: str
    patient: str | None
    modality: str | None
    region: str | None
    findings: tuple[str, ...]
    split: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One retrieval run: top N of every query among an index, under one snapshot of the database.

    `labelled_queries` counts the queries with exactly one label, which are those that an evaluation averages over.
    `seconds` is the time that at least one process worked on it. `certificate` vouches for its hits, as
    docs/retrieval.md says.
    """

    run_id: int
    name: str
    encoder: str
    n: int
    engine: str
    queries: int
    labelled_queries: int
    index: int
    seconds: float
    exclude_same_patient: bool
    exclude_duplicates: bool
    exclude_same_study: bool
    certificate: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that is being computed, was interrupted, or failed: no view shows its hits, and no evaluation uses it.

    `state` is 'running' (at least one process lives), 'interrupted' (the same command goes on with it) or 'failed'
    (its answer contradicted pgvector; `failure` says how). `answered` counts the queries done so far.
    """

    run_id: int
    name: str | None
    encoder: str
    n: int
    engine: str
    queries: int
    index: int
    answered: int
    state: Literal["running", "interrupted", "failed"]
    failure: str | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many `images` pass a filter, and how many of them have a vector of an encoder and can be found."""

    images: int
    encoded: int

    @property
    def missing(self) -> int:
        """Images that no search by this encoder can find."""
        return self.images - self.encoded


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of an evaluation, over a whole run or over one of its groups (`group` is then its name).

    `n` is None for a metric that does not depend on N, `definition` for one that has a single definition. `value` is
    None where there is none: a capped precision without a possible relevant image. `std` is the standard deviation of
    the published code (see docs/evaluation.md); `queries` counts those of the group, `undefined` the queries (macro:
    classes) that have no possible relevant image, or no value; `index` the index images of the queries' classes.
    """

    n: int | None
    average: Average
    definition: Definition | None
    value: float | None
    std: float | None
    queries: int
    undefined: int
    ci_low: float | None = None
    ci_high: float | None = None
    group: str | None = None
    metric: str = "precision"
    index: int = 0
    second_group: str | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """Predicted classes of the query images, by the vote of nearest neighbours or by a linear probe.

    `queries` are the images classified, `labelled_queries` those with exactly one label, over which metrics go;
    `classes` could be predicted. `run` is the retrieval run that voted and `k` the neighbours, None for a linear probe;
    `parameters` is what was asked for, `certificate` how K was chosen or the training went (docs/evaluation.md).
    """

    classification_id: int
    method: Literal["knn", "linear"]
    encoder: str
    run: str | None
    k: int | None
    queries: int
    labelled_queries: int
    classes: int
    seconds: float
    parameters: Mapping[str, Any]
    certificate: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClassificationMetric:
    """One number of a classification, over all classes (micro, macro) or of one (`average` 'class', named by `group`).

    `value` is None where it has none: AUPRC of a class that no query has. `queries` counts those that have the class,
    `classes` the classes averaged over, `undefined` those without a value, which are left out.
    """

    metric: Literal["precision", "recall", "f1", "auprc"]
    average: Literal["micro", "macro", "class"]
    value: float | None
    queries: int
    classes: int
    undefined: int
    group: str | None = None


class Progress(Protocol):
    """Where long work tells how far it is."""

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        """Start a stage of `total` items (None where not known yet), each a `unit`."""

    def advance(self, items: int) -> None:
        """Say that so many more items are done."""

    def note(self, text: str) -> None:
        """Show a short remark beside the progress."""


class Silent:
    """Progress that nobody watches."""

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, items: int) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What one encode did: images `encoded`, `failed` and `remaining`.

    Of `seconds`, in [0, 1], `starting` went by before the first images were ready; after that the model spent `forward`
    computing, `waiting` without input, and `writing` waiting for the database. `version_of` is the name that was asked
    for, where that still means the vectors of another recipe.
    """

    encoder: str
    encoded: int
    failed: int
    remaining: int
    seconds: float
    starting: float = 0.0
    forward: float = 0.0
    waiting: float = 0.0
    writing: float = 0.0
    interrupted: bool = False
    version_of: str | None = None


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one ingest did: images `added`, `updated` (file or metadata new), `unchanged`; files `rejected`, `ignored`.

    `ignored` counts files that hold no image; they are listed in table `rejected` with their reason, as the others
    are; `first_rejected` has the first few. `encoded` has a report per encoder. `seconds` is wall time without the
    encoding. `duplicates` counts the images of the whole catalogue whose decoded pixels equal those of another, the one
    kept, and `leaks` those of them that stand in another split than it (view `duplicate_image`); None where they were
    not counted: by `watch` and `receive`.
    """

    added: int
    updated: int
    unchanged: int
    rejected: int
    ignored: int
    seconds: float
    interrupted: bool = False
    first_rejected: tuple[Rejection, ...] = ()
    encoded: tuple[EncodeReport, ...] = ()
    duplicates: int | None = None
    leaks: int | None = None


@dataclass(frozen=True, slots=True)
class SurveyCount:
    """Images with exactly one label, of one dataset, modality and split (None: no split is known).

    `published` is the number of Denner et al. 2024, None where the paper has none.
    """

    dataset: str
    modality: str
    split: Split | None
    images: int
    published: int | None

    @property
    def difference(self) -> int | None:
        """How many images more than published."""
        return None if self.published is None else self.images - self.published


@dataclass(frozen=True, slots=True)
class SurveyClasses:
    """Classes among the images of a dataset and modality with exactly one label, by kind, and the published numbers."""

    dataset: str
    modality: str
    pathology: int
    anatomy: int
    published_pathology: int | None
    published_anatomy: int | None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What takes no part in an evaluation for one reason: `count` files, rows, studies or images, and the first few.

    `catalogued` tells images that are kept in the catalogue from what is not stored.
    """

    reason: str
    count: int
    examples: tuple[str, ...]
    catalogued: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What an ingest would catalogue, counted without opening an image.

    `images` are all that would be catalogued, one per file; `counts` and `classes` tell those with exactly one label,
    and `exclusions` why the others have none or several, and what is rejected. `unknown_labels` are names that the
    table of labels lacks, with their images. `repeated` images are listed more than once, `across_splits` of them in
    several splits.
    """

    source: str
    images: int
    counts: tuple[SurveyCount, ...]
    classes: tuple[SurveyClasses, ...]
    regions: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]
    unknown_labels: Mapping[str, int]
    repeated: int
    across_splits: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What one import of vectors did: `unknown` counts uris that the catalogue lacks, `unknown_uris` has the first."""

    encoder: str
    dim: int
    added: int
    unchanged: int
    unknown: int
    unknown_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image that shows what another, the one kept, shows; `leaks` where they are in different splits.

    `distance` is the cosine distance of near duplicates, None for exact ones.
    """

    leaks: bool
    distance: float | None
    kept_dataset: str
    kept_split: str | None
    dataset: str
    split: str | None
    kept_frame: int
    frame: int
    kept_uri: str
    uri: str
