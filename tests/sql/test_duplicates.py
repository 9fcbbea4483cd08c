"""Exact duplicates by decoded pixels, and near ones by distance, across files, formats, splits and datasets."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

import medcbir
from medcbir.errors import InputError


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
    report = db.ingest(folders, encode=False)
    assert (report.duplicates, report.leaks) == (3, 3)
    assert db.ingest(folders, encode=False).duplicates == 3
    found = db.duplicates()
    told = {(Path(d.kept_uri).name, d.kept_split, Path(d.uri).name, d.split, d.leaks) for d in found}
    assert told == {
        ("0_leak.png", "test", "0.png", "train", True),
        ("0_leak.png", "test", "0_again.tif", "train", True),
        ("1.png", "val", "1.png", "train", True),
    }
    assert db.query("SELECT count(*) FROM image") == [(7,)]
    ranks = db.query(
        "SELECT regexp_replace(i.uri, '.*/', ''), d.rank FROM duplicate_image AS d JOIN image AS i USING "
        "(image_id) ORDER BY d.kept_image_id, d.rank"
    )
    assert sorted(rank for _, rank in ranks) == [2, 2, 3]
    assert dict(ranks)["1.png"] == 2


def test_a_duplicate_without_a_split_leaks_nowhere_and_one_of_another_dataset_does(
    db: medcbir.Database, folders: Path
) -> None:
    picture = (folders / "train/CT/chest/a/2.png").rename(folders.parent / "2.png")
    db.ingest(picture, name="one", split="train", encode=False)
    unsplit = db.ingest(picture, name="two", encode=False)
    assert (unsplit.duplicates, unsplit.leaks) == (1, 0)
    other = db.ingest(picture, name="three", split="test", encode=False)
    assert (other.duplicates, other.leaks) == (2, 1)
    assert db.query("SELECT across_datasets, leaks FROM duplicate_image ORDER BY rank") == [(True, True), (True, False)]


def collection(db: medcbir.Database, folder: Path, size: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors, patients (0 unknown) and pictures (0 unknown, not compared) of images; the first 80 are queries."""
    rng = default_rng(3)
    patients, pictures = rng.integers(0, 60, size), rng.integers(0, 90, size)
    lines = ["uri,dataset,patient,split,modality,region,finding"]
    for number, patient in enumerate(patients):
        person = f"p{patient}" if patient else ""
        split = "test" if number < 80 else "train"
        lines.append(f"{number},set {number % 2},{person if number % 2 else ''},{split},CT,chest,f{number % 3}")
    patients[::2] = 0
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    db.ingest(folder / "m.csv", metadata_only=True)
    vectors = rng.normal(size=(size, 24)) + 3 * rng.normal(size=(90, 24))[pictures]  # duplicates lie close together
    np.savez(folder / "v.npz", uri=np.arange(size).astype(str), vector=vectors)
    db.import_vectors(folder / "v.npz", encoder="e")
    known = [(str(number), int(picture)) for number, picture in enumerate(pictures) if picture]
    db.query(
        "UPDATE image SET pixel_sha256 = sha256(t.picture::text::bytea) FROM unnest(%(uris)s::text[], "
        "%(pictures)s::int[]) AS t (uri, picture) WHERE image.uri = t.uri RETURNING 1",
        {"uris": [uri for uri, _ in known], "pictures": [picture for _, picture in known]},
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), patients, pictures


@pytest.mark.parametrize("same_patient", [False, True])
@pytest.mark.parametrize("index", ["train", None])
def test_runs_without_duplicates_equal_brute_force_by_both_engines(
    db: medcbir.Database, tmp_path: Path, same_patient: bool, index: Literal["train"] | None
) -> None:
    unit, patients, pictures = collection(db, tmp_path)
    everyone = np.arange(len(unit))
    hits, relevant = [], []
    for query in range(80):
        allowed = everyone[80 if index else 0 :]
        allowed = allowed[(allowed != query) & ((pictures[allowed] != pictures[query]) | (pictures[allowed] == 0))]
        if same_patient:
            allowed = allowed[(patients[allowed] != patients[query]) | (patients[allowed] == 0)]
        nearest = allowed[np.argsort(1 - unit[allowed] @ unit[query])][:7]
        hits += [(query, rank + 1, hit) for rank, hit in enumerate(nearest.tolist())]
        relevant.append((query, int((allowed % 3 == query % 3).sum())))
    for engine in ("pgvector", "blocked"):
        run = db.retrieve(
            encoder="e", n=7, index=index, engine=engine, exclude_same_patient=same_patient, exclude_duplicates=True
        )
        assert run.exclude_duplicates
        assert db.query("SELECT exclude_duplicates FROM run WHERE run_id = %(id)s", {"id": run.run_id}) == [(True,)]
        found = db.query(
            "SELECT q.uri::int, h.rank, i.uri::int FROM hit AS h JOIN image AS q ON q.image_id = h.query_id JOIN image "
            "AS i ON i.image_id = h.image_id WHERE h.run_id = %(id)s ORDER BY 1, 2",
            {"id": run.run_id},
        )
        assert found == hits
        counted = db.query(
            "SELECT i.uri::int, q.relevant FROM run_query AS q JOIN image AS i ON i.image_id = q.query_id "
            "WHERE q.run_id = %(id)s ORDER BY 1",
            {"id": run.run_id},
        )
        assert counted == relevant
    assert not db.retrieve(encoder="e", n=7, index=index).exclude_duplicates


def test_a_search_leaves_out_duplicates_of_an_id_and_of_a_picture(db: medcbir.Database, folders: Path) -> None:
    db.ingest(folders)
    ids = {
        Path(uri).name: image_id for uri, image_id in db.query("SELECT uri, image_id FROM image WHERE split = 'train'")
    }
    same = {"0.png", "0_again.tif", "0_leak.png"}
    for query in ({"image_id": ids["0.png"]}, {"image": folders / "train/CT/chest/a/0.png"}):
        plain = {Path(hit.uri).name for hit in db.search(**query)}
        without = [Path(hit.uri).name for hit in db.search(**query, exclude_duplicates=True)]
        assert plain & same
        assert sorted(without) == ["1.png", "1.png", "2.png", "3.png"]
    with pytest.raises(InputError, match="a vector has no pixels"):
        db.search(vector=np.ones(1280), exclude_duplicates=True)


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
