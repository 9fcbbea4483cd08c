"""Collections on which low precision, ties and copies would betray an answer that is not exact; what scores them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import medcbir
from medcbir.retrieval.hardware import Hardware

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
HARDWARE = [Hardware(device, dtype) for device in DEVICES for dtype in (torch.bfloat16, torch.float32)]
"""All that the blocked engine may choose from on this machine."""

Rows = npt.NDArray[np.float32]

SIZE, QUERIES = 1200, 60


def random(rng: np.random.Generator) -> Rows:
    return rng.normal(size=(SIZE, 48)).astype(np.float32)


def clustered(rng: np.random.Generator) -> Rows:
    centres = rng.normal(size=(12, 64))
    return (centres[rng.zipf(1.5, SIZE) % 12] + 0.02 * rng.normal(size=(SIZE, 64))).astype(np.float32)


def duplicated(rng: np.random.Generator) -> Rows:
    return random(rng)[rng.integers(0, 40, SIZE)]


def tied(rng: np.random.Generator) -> Rows:
    rows = rng.integers(-1, 2, (SIZE, 5)).astype(np.float32)
    rows[~rows.any(axis=1)] = 1
    return rows


def nearly_tied(rng: np.random.Generator) -> Rows:
    """One component of a few directions moved by one unit in the last place."""
    rows = random(rng)[rng.integers(0, 6, SIZE)]
    chosen = np.arange(SIZE), rng.integers(0, rows.shape[1], SIZE)
    rows[chosen] = np.nextafter(rows[chosen], np.float32(9) * rng.choice([-1, 1], SIZE).astype(np.float32))
    return rows


def tiny(rng: np.random.Generator) -> Rows:
    return (rng.normal(size=(SIZE, 16)) * 10.0 ** rng.uniform(-43, 30, (SIZE, 1)) + 1e-44).astype(np.float32)


def opposite(rng: np.random.Generator) -> Rows:
    """Every similarity is negative, or zero of either sign."""
    rows = np.abs(rng.normal(size=(SIZE, 24))).astype(np.float32) * (rng.random((SIZE, 24)) < 0.3)
    rows[:, 0] += np.float32(1e-6)
    rows[:QUERIES] *= -1
    return rows


def adversarial(rng: np.random.Generator) -> Rows:
    """Near rounding boundaries of bfloat16, so that low precision puts them in another order."""
    signs = rng.choice([-1, 1], 128) * np.ones((SIZE, 1))
    rows = signs * (1 + 2.0**-8 + rng.choice([-1, 1], (SIZE, 128)) * 10.0 ** rng.uniform(-6, -3, (SIZE, 1)))
    return rows.astype(np.float32)


SETS: list[Callable[[np.random.Generator], Rows]] = [
    random,
    clustered,
    duplicated,
    tied,
    nearly_tied,
    tiny,
    opposite,
    adversarial,
]


def fill(db: medcbir.Database, folder: Path, rows: Rows, patients: npt.NDArray[np.int64]) -> None:
    """The first images are queries; patient 0 is unknown; modality and dataset alternate."""
    lines = ["uri,dataset,patient,split,modality"]
    for number, patient in enumerate(patients):
        split = "test" if number < QUERIES else "train"
        person = f"p{patient}" if patient else ""
        lines.append(f"{number},set {number % 2},{person},{split},{('CT', 'MR', 'US')[number % 3]}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    db.ingest(folder / "m.csv", metadata_only=True)
    np.savez(folder / "v.npz", uri=np.arange(len(rows)).astype(str), vector=rows)
    db.import_vectors(folder / "v.npz", encoder="e")
