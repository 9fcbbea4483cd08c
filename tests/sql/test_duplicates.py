"""Exact duplicates by decoded pixels, and near ones by distance, across files, formats, splits and datasets."""

from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

import medcbir


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rng = default_rng(0)
    pictures = [rng.integers(0, 256, (24, 24), dtype=np.uint8) for _ in range(4)]
    files = {
        "train/CT/chest/a/0.png": pictures[0],
        "train/CT/chest/a/0_again.tif": pictures[0],  # another format, the same pixels
        "test/CT/chest/a/0_leak.png": pictures[0],
        "val/CT/chest/a/1.png": pictures[1],
        "train/CT/chest/a/1.png": pictures[1],
        "train/CT/chest/a/2.png": pictures[2],
        "test/CT/chest/a/3.png": pictures[3],
    }
    for name, picture in files.items():
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return tmp_path / "images"


def test_exact_duplicates_keep_the_first_and_tell_leaks(db: medcbir.Database, folders: Path) -> None:
    db.ingest(folders, encode=False)
    found = db.duplicates()
    told = {(Path(d.kept_uri).name, d.kept_split, Path(d.uri).name, d.split, d.leaks) for d in found}
    assert told == {
        ("0_leak.png", "test", "0.png", "train", True),
        ("0_leak.png", "test", "0_again.tif", "train", True),
        ("1.png", "val", "1.png", "train", True),
    }
    assert db.query("SELECT count(*) FROM image") == [(7,)]


def test_near_duplicates_are_the_near_hits_with_other_pixels(db: medcbir.Database, folders: Path) -> None:
    db.ingest(folders, encode=False)
    ids = {
        Path(uri).relative_to(folders).as_posix(): image_id
        for image_id, uri in db.query("SELECT image_id, uri FROM image")
    }
    uris = [uri for (uri,) in db.query("SELECT uri FROM image ORDER BY image_id")]
    vectors = np.eye(7, dtype=np.float32)
    near, other = ids["train/CT/chest/a/2.png"] - 1, ids["test/CT/chest/a/3.png"] - 1
    vectors[near] = vectors[other] + 0.05 * vectors[near]  # cosine distance 1 - 1 / sqrt(1 + 0.05 ** 2) = 0.00125
    vectors[ids["train/CT/chest/a/0.png"] - 1] = vectors[ids["test/CT/chest/a/0_leak.png"] - 1]
    np.savez(folders.parent / "v.npz", uri=np.array(uris), vector=vectors)
    db.import_vectors(folders.parent / "v.npz", encoder="e")
    run = db.retrieve(encoder="e", n=5, exclude_same_patient=False)
    (found,) = db.near_duplicates(run, within=0.01)
    assert (Path(found.kept_uri).name, Path(found.uri).name, found.leaks) == ("3.png", "2.png", True)
    assert found.distance == pytest.approx(1 - 1 / np.sqrt(1 + 0.05**2), abs=1e-6)
