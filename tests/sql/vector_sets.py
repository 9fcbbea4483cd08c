"""Collections on which low precision, ties and copies would betray an answer that is not exact; what scores them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import medcbir
from medcbir.retrieval.hardware import Hardware
from medcbir.retrieval.products import FloatProduct, IntegerProduct, Product, _rotation, sums_exactly

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
HARDWARE = [Hardware(device, dtype) for device in DEVICES for dtype in (torch.bfloat16, torch.float32)]
"""Types in which float products are computed on this machine."""

MOST = [most for most in (127, 64) if sums_exactly(IntegerProduct(512, most))]
"""Of a query's integers, where sums of them are exact on this machine."""


def chains(dim: int) -> list[tuple[Product, ...]]:
    """From coarse to fine, all that the blocked engine may choose from on this machine."""
    found: list[tuple[Product, ...]] = []
    for device in DEVICES:
        floats = tuple(FloatProduct(Hardware(device, dtype), dim) for dtype in (torch.bfloat16, torch.float32))
        found += [floats, floats[1:]]
        if device == "cpu":
            found += [(IntegerProduct(dim, most), *floats) for most in MOST]
    return found


CHAINS = [" to ".join(product.name for product in chain) for chain in chains(1)]

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


def between_integers(rng: np.random.Generator) -> Rows:
    """Beside the middle of two 8-bit integers once they are rotated and scaled, so that each loses half a unit."""
    rotated = rng.integers(-127, 127, (SIZE, 64)) + 0.5 + rng.choice([-1e-3, 1e-3], (SIZE, 64))
    rotated[:, 0] = 127
    return (rotated @ _rotation(64).numpy().T).astype(np.float32)


def outlying(rng: np.random.Generator) -> Rows:
    """What embeddings of some transformers look like: alike in a few very large components."""
    rows = rng.normal(size=(SIZE, 48))
    rows[:, [5, 17]] += [40.0, -25.0]
    return rows.astype(np.float32)


def shaped(rng: np.random.Generator, shape: str, dim: int) -> npt.NDArray[np.float64]:
    """Twenty-four vectors (24, dim) on which rounding does its worst in one way or another."""
    vectors = rng.normal(size=(24, dim))
    if shape == "heavy":
        vectors = vectors**7
    elif shape == "sparse":
        vectors *= rng.random(vectors.shape) < 0.05
        vectors[:, 0] += 1e-3
    elif shape == "close":
        vectors = vectors[:1] * (1 + 1e-3 * rng.normal(size=vectors.shape))
    elif shape == "tiny":
        vectors *= 10.0 ** rng.uniform(-38, -30, (24, 1))
    elif shape == "wide":
        vectors *= 10.0 ** rng.uniform(-44, 0, vectors.shape)
        vectors[:, -1] = 1
    return vectors


SHAPES = ["normal", "heavy", "sparse", "close", "tiny", "wide"]


def cosine(queries: Rows, index: Rows) -> npt.NDArray[np.float64]:
    """Cosines (q, x) in extended precision, whose own error is far below any bound."""
    q, x = queries.astype(np.longdouble), index.astype(np.longdouble)
    norms = np.sqrt((q * q).sum(axis=1))[:, None] * np.sqrt((x * x).sum(axis=1))
    return np.asarray((q @ x.T) / norms, dtype=np.float64)


SETS: list[Callable[[np.random.Generator], Rows]] = [
    random,
    clustered,
    duplicated,
    tied,
    nearly_tied,
    tiny,
    opposite,
    adversarial,
    between_integers,
    outlying,
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
