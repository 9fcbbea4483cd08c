"""The linear probe: one layer trained on the vectors as they are (Denner et al. 2024, Tables 4 and 6).

Vectors stay in the memory-mapped copy that retrieval keeps (filled by binary COPY); training draws blocks of
neighbouring rows from it, so that memory holds a few blocks and never the training set.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from psycopg import sql
from torch import nn
from torch.nn.utils import skip_init

from medcbir.encoders.device import full_precision, torch_device
from medcbir.errors import InputError, RunError
from medcbir.evaluation.numbering import by_appearance
from medcbir.retrieval.cache import cached_vectors
from medcbir.store.binary_copy import copy_columns
from medcbir.store.classifications import Scores, add_classification, copy_scores, find_classification, require_free
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder
from medcbir.store.sqlfiles import query
from medcbir.store.vectors import partition
from medcbir.types import Classification, Progress, Silent, Vectors

_BLOCK = 256
"""Neighbouring rows that are drawn together."""

_BLOCKS = 64
"""Blocks shuffled with each other: 32 MiB at 512 dimensions."""

_TRAIN, _VAL, _TEST = 1, 2, 3
"""The splits as query probe_images numbers them."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a linear probe is trained; the defaults are the paper's Table 6, and weight decay that of its code.

    `patience` epochs without a lower validation loss end it; 0 trains all `epochs` and needs no validation images.
    `balanced` weighs a class by train images / (classes x its images), as scikit-learn does.
    """

    epochs: int = 100
    patience: int = 20
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 256
    balanced: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("patience", 0), ("batch_size", 1), ("weight_decay", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name.replace('_', ' ')} must be {least} or more, not {getattr(self, name)}")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"the learning rate must be above 0, not {self.lr}")


@dataclass(frozen=True, slots=True)
class Examples:
    """Images of one split by id: where their vectors (all, dim) stand, their ids and their classes, each (n,)."""

    vectors: Vectors
    rows: npt.NDArray[np.int64]
    image_ids: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, mask: npt.NDArray[np.bool_]) -> "Examples":
        """Those of the mask (n,)."""
        return Examples(self.vectors, self.rows[mask], self.image_ids[mask], self.classes[mask])

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Each example once, as batches of vectors (b, dim) and classes (b,): blocks at random, shuffled in groups."""
        blocks = torch.randperm(-(-len(self) // _BLOCK), generator=generator).numpy()
        for start in range(0, len(blocks), _BLOCKS):
            group = np.concatenate(
                [
                    np.arange(block * _BLOCK, min((block + 1) * _BLOCK, len(self)))
                    for block in blocks[start : start + _BLOCKS]
                ]
            )
            vectors = torch.from_numpy(self.vectors[self.rows[group]])
            classes = torch.from_numpy(self.classes[group])
            for batch in torch.split(torch.randperm(len(group), generator=generator), batch_size):
                yield vectors[batch], classes[batch]

    def in_order(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """All vectors, a few blocks at a time, with their places."""
        for start in range(0, len(self), _BLOCK * _BLOCKS):
            places = slice(start, start + _BLOCK * _BLOCKS)
            yield places, torch.from_numpy(self.vectors[self.rows[places]])


def classify(
    connection: Connection,
    encoder: StoredEncoder,
    training: Training,
    *,
    datasets: list[str] | None,
    device: str,
    cache_dir: Path,
    name: str | None = None,
    progress: Progress | None = None,
) -> Classification:
    """Train on the training images' vectors, stop early on validation, and store the test images' predictions.

    Only images with exactly one label train and stop; test images without one are predicted too. A class without
    training images cannot be predicted: its validation images take no part, its test images count as missed. No
    transaction is open during training, and nothing is stored before its end.
    Raises `RunError` where a split has no image to work on, `InputError` for a taken name, `EncoderError` for a device
    that is not there.
    """
    require_free(connection, name)
    progress = progress or Silent()
    target = torch_device(device)
    started = time.perf_counter()
    train, val, test, label_ids = _examples(connection, encoder, datasets, cache_dir)
    _require(encoder, training, train, val, test)
    unseen = int((val.classes < 0).sum())
    with _own_arithmetic():
        layer, certificate = _train(
            train, val.chosen(val.classes >= 0), len(label_ids), encoder.dim, training, target, progress
        )
    certificate |= {
        "device": target.type,
        "torch": torch.__version__,
        "train_images": len(train),
        "val_images": len(val) - unseen,
        "val_images_of_unseen_classes": unseen,
    }
    with connection.transaction(), _own_arithmetic():
        classification_id = add_classification(
            connection,
            "linear",
            encoder.encoder_id,
            None,
            label_ids.tolist(),
            len(test),
            asdict(training) | {"datasets": datasets},
            certificate,
            time.perf_counter() - started,
            name,
        )
        progress.begin("predict", "images", len(test))
        copy_scores(connection, classification_id, _predict(layer, test, label_ids, target, progress))
    return find_classification(connection, classification_id)


@contextmanager
def _own_arithmetic() -> Iterator[None]:
    """Full float32 products by one thread, whatever the program around has chosen: the same vectors give the same bits.

    A batch is too small for a second thread to be of use.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with full_precision:
            yield
    finally:
        torch.set_num_threads(threads)


def _examples(
    connection: Connection, encoder: StoredEncoder, datasets: list[str] | None, cache_dir: Path
) -> tuple[Examples, Examples, Examples, npt.NDArray[np.int64]]:
    """Train, val and test, and the label of each class, under one snapshot.

    Classes are in the order of their first training images, which does not depend on ids of labels. Train has its
    labelled images, val too; classes of val are -1 where train has none. Test has labels as its classes.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        images = sql.SQL(query("probe_images")).format(partition=partition(encoder.name))
        found = copy_columns(
            connection, images, {"datasets": datasets}, dict.fromkeys(("image_id", "split", "label_id"), "bigint")
        )
        cached = cached_vectors(connection, encoder, cache_dir)
    image_ids, splits, labels = found["image_id"], found["split"], found["label_id"]
    places = cached.rows(image_ids)
    label_ids, _ = by_appearance(labels[(splits == _TRAIN) & (labels > 0)])
    by_id = np.argsort(label_ids)
    known = np.isin(labels, label_ids)
    classes = np.full(len(labels), -1)
    classes[known] = by_id[np.searchsorted(label_ids, labels[known], sorter=by_id)]
    everything = Examples(cached.vectors, places, image_ids, classes)
    train, val = (everything.chosen((splits == split) & (labels > 0)) for split in (_TRAIN, _VAL))
    is_test = splits == _TEST
    return train, val, Examples(cached.vectors, places[is_test], image_ids[is_test], labels[is_test]), label_ids


def _require(encoder: StoredEncoder, training: Training, train: Examples, val: Examples, test: Examples) -> None:
    has_vectors = f"with a vector of encoder {encoder.name}"
    if not len(train):
        raise RunError(f"no image of split train with exactly one label, {has_vectors}: there is nothing to learn from")
    if not len(test):
        raise RunError(f"no image of split test {has_vectors}: there is nothing to classify")
    if training.patience and not (val.classes >= 0).any():
        raise RunError(
            f"no image of split val of a class that train has, {has_vectors}, to stop early by: give images that split "
            "on ingest, or train all epochs with --patience 0"
        )


def _train(
    train: Examples,
    val: Examples,
    classes: int,
    dim: int,
    training: Training,
    device: torch.device,
    progress: Progress,
) -> tuple[nn.Linear, dict[str, Any]]:
    """The layer with the lowest validation loss (the last one without validation), and the course of the training."""
    generator = torch.Generator().manual_seed(training.seed)
    layer: nn.Linear = skip_init(nn.Linear, dim, classes, dtype=torch.float32)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(dim**-0.5), dim**-0.5, generator=generator)
    layer.to(device)
    weight = None
    if training.balanced:
        counts = np.bincount(train.classes, minlength=classes)
        weight = torch.from_numpy(len(train) / (classes * counts)).float().to(device)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    losses: list[float] = []
    best, best_epoch = deepcopy(layer.state_dict()), 0
    progress.begin("train", "vectors", len(train) * training.epochs)
    started = time.perf_counter()
    for epoch in range(1, training.epochs + 1):
        for vectors, labels in train.shuffled(training.batch_size, generator):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(layer(vectors.to(device)), labels.to(device), weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            progress.advance(len(labels))
        if not training.patience:
            best_epoch = epoch
            continue
        losses.append(_loss(layer, val, weight, device))
        if not np.isfinite(losses[-1]):
            raise InputError(f"the loss is not finite after epoch {epoch}: choose a smaller learning rate")
        if losses[-1] < min(losses[:-1], default=float("inf")):
            best, best_epoch = deepcopy(layer.state_dict()), epoch
        progress.note(f"epoch {epoch}, validation loss {losses[-1]:.4f}, best {min(losses):.4f} at {best_epoch}")
        if epoch - best_epoch >= training.patience:
            break
    if training.patience:
        layer.load_state_dict(best)
    return layer, {
        "epochs_run": epoch,
        "best_epoch": best_epoch,
        "validation_loss": losses,
        "seconds_per_epoch": (time.perf_counter() - started) / epoch,
    }


@torch.inference_mode()
def _loss(layer: nn.Linear, examples: Examples, weight: torch.Tensor | None, device: torch.device) -> float:
    """Cross-entropy over all examples, as training has it: the mean weighted by class."""
    total = weights = 0.0
    for places, vectors in examples.in_order():
        labels = torch.from_numpy(examples.classes[places]).to(device)
        total += float(nn.functional.cross_entropy(layer(vectors.to(device)), labels, weight, reduction="sum"))
        weights += len(labels) if weight is None else float(weight[labels].sum())
    return total / weights


@torch.inference_mode()
def _predict(
    layer: nn.Linear,
    test: Examples,
    label_ids: npt.NDArray[np.int64],
    device: torch.device,
    progress: Progress,
) -> Iterator[Scores]:
    """Softmax probabilities of all classes; the most probable class, of equals the first."""
    for places, vectors in test.in_order():
        logits = layer(vectors.to(device))
        predicted = label_ids[logits.argmax(dim=1).cpu().numpy()]
        scores = logits.softmax(dim=1).cpu().numpy()
        yield Scores(test.image_ids[places], test.classes[places], predicted, scores)
        progress.advance(len(scores))
