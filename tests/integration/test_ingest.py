"""Filling the catalogue: what a second, a changed and a mended source do to the rows."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pydicom
import pytest
from numpy.random import default_rng
from PIL import Image
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import medcbir

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
MULTI_FRAME = TEST_FILES / "examples_ybr_color.dcm"
ENCODER = "efficientnet_lite0"

DrawImages = Callable[..., list[Path]]
RunMedcbir = Callable[..., CompletedProcess[str]]


def rows(db: medcbir.Database, table: str = "image", order: str = "image_id") -> list[tuple[Any, ...]]:
    return db.query(f"SELECT * FROM {table} ORDER BY {order}")


def everything(db: medcbir.Database) -> list[list[tuple[Any, ...]]]:
    return [
        rows(db),
        rows(db, "dataset", "name"),
        rows(db, "patient", "patient_id"),
        rows(db, "label", "name"),
        rows(db, "image_label", "image_id, label_id"),
    ]


def count(db: medcbir.Database, table: str) -> int:
    return int(db.query(f"SELECT count(*) FROM {table}")[0][0])


def manifest(folder: Path, *lines: str, header: str = "uri,patient,split,modality,region,finding") -> Path:
    file = folder / "manifest.csv"
    file.write_text("\n".join((header, *lines)) + "\n")
    return file


def test_the_same_folder_twice_adds_nothing_and_says_so(
    database_url: str, tmp_path: Path, draw_images: DrawImages, run_medcbir: RunMedcbir
) -> None:
    draw_images(tmp_path, 20, folders=("train/CT/chest/nodule", "test/CT/chest/nodule", "train/MR/brain"))
    shutil.copy(MULTI_FRAME, tmp_path / "train")
    (tmp_path / "notes.txt").write_text("nothing to see")
    arguments = ("ingest", tmp_path, "--no-encode", "--database-url", database_url)
    frames = pydicom.dcmread(MULTI_FRAME).NumberOfFrames

    first = run_medcbir(*arguments)
    assert first.returncode == 0, first.stderr
    assert f"{20 + frames} images added, 0 updated, 0 unchanged, 0 rejected, 1 files without an image" in first.stdout
    with medcbir.connect(database_url) as db:
        before = everything(db)
        assert len(before[0]) == 20 + frames

        second = run_medcbir(*arguments)
        assert second.returncode == 0
        assert f"nothing new, {20 + frames} unchanged, 0 rejected, 1 files without an image" in second.stdout
        assert everything(db) == before


def test_nothing_is_opened_again_that_has_not_changed(
    db: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    """Files of the same size and time are not read: what they hold is taken away behind the catalogue's back."""
    files = draw_images(tmp_path, 5)
    db.ingest(tmp_path, encode=False)
    for file in files:
        status = file.stat()
        file.write_bytes(b"\0" * status.st_size)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = db.ingest(tmp_path, encode=False)
    assert (report.unchanged, report.rejected) == (5, 0)


def test_a_new_file_is_added_and_the_others_stay(db: medcbir.Database, tmp_path: Path, draw_images: DrawImages) -> None:
    draw_images(tmp_path, 4)
    db.ingest(tmp_path, encode=False)
    before = rows(db)
    draw_images(tmp_path / "more", 3, seed=1)
    report = db.ingest(tmp_path, encode=False)
    assert (report.added, report.updated, report.unchanged) == (3, 0, 4)
    assert rows(db)[:4] == before


def test_a_changed_file_is_updated_and_gets_a_new_vector(
    db: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    files = draw_images(tmp_path, 3)
    db.ingest(tmp_path)
    ids = dict(db.query("SELECT uri, image_id FROM image"))
    vectors = dict(db.query("SELECT image_id, v::text FROM embedding"))
    digests = dict(db.query("SELECT image_id, pixel_sha256 FROM image"))
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).save(files[1])

    report = db.ingest(tmp_path, encode=False)
    assert (report.added, report.updated, report.unchanged) == (0, 1, 2)
    assert dict(db.query("SELECT uri, image_id FROM image")) == ids
    changed = ids[str(files[1])]
    kept = dict(db.query("SELECT image_id, v::text FROM embedding"))
    assert kept == {image_id: v for image_id, v in vectors.items() if image_id != changed}
    now = dict(db.query("SELECT image_id, pixel_sha256 FROM image"))
    assert {image_id for image_id in now if now[image_id] != digests[image_id]} == {changed}

    assert db.encode().encoded == 1
    again = dict(db.query("SELECT image_id, v::text FROM embedding"))
    assert again[changed] != vectors[changed]
    assert {**again, changed: ""} == {**vectors, changed: ""}


def test_a_file_written_anew_with_the_same_pixels_keeps_its_vector(
    db: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    file = draw_images(tmp_path, 1)[0]
    db.ingest(tmp_path)
    before = db.query("SELECT image_id, v::text FROM embedding")
    with Image.open(file) as image:
        image.save(file, compress_level=1)
    assert db.ingest(tmp_path, encode=False).updated == 1
    assert db.query("SELECT image_id, v::text FROM embedding") == before


def test_a_file_that_has_lost_frames_loses_their_rows(db: medcbir.Database, tmp_path: Path) -> None:
    stack = [Image.fromarray(np.full((16, 16), 40 * frame, np.uint8)) for frame in range(5)]
    stack[0].save(tmp_path / "stack.tif", save_all=True, append_images=stack[1:])
    assert db.ingest(tmp_path, encode=False).added == 5
    before = rows(db)
    stack[0].save(tmp_path / "stack.tif", save_all=True, append_images=stack[1:3])
    report = db.ingest(tmp_path, encode=False)
    assert (report.added, report.updated) == (0, 3)
    assert [row[0] for row in rows(db)] == [row[0] for row in before[:3]]


def test_metadata_and_labels_follow_the_manifest(db: medcbir.Database, tmp_path: Path, draw_images: DrawImages) -> None:
    draw_images(tmp_path, 3)
    lines = [f"000{number}.png,p{number},train,CT,chest,nodule" for number in range(3)]
    db.ingest(manifest(tmp_path, *lines), encode=False)
    lines[1] = "0001.png,p9,test,CT,chest,effusion|mass"
    report = db.ingest(manifest(tmp_path, *lines), encode=False)
    assert (report.added, report.updated, report.unchanged) == (0, 1, 2)
    found = db.query("SELECT uri, patient, split, findings FROM image_vectors ORDER BY uri")
    assert found == [
        ("0000.png", "p0", "train", ["nodule"]),
        ("0001.png", "p9", "test", ["effusion", "mass"]),
        ("0002.png", "p2", "train", ["nodule"]),
    ]


def test_spellings_of_one_label_are_one_label(db: medcbir.Database, tmp_path: Path) -> None:
    findings = ["Pleural Effusion", "pleural effusion", "PleuralEffusion", "pleural_effusion", "PLEURAL  EFFUSION"]
    lines = [
        f"{number}.png,,,{'x-ray' if number % 2 else 'DX'},chest,{finding}" for number, finding in enumerate(findings)
    ]
    lines += ["both.png,,,CR,chest,Pleural Effusion|pleural_effusion", "other.png,,,XR,chest,mass"]
    report = db.ingest(manifest(tmp_path, *lines), metadata_only=True)
    assert report.added == 7
    names = [name for (name,) in db.query("SELECT name FROM label ORDER BY name")]
    assert len(names) == 2
    assert "XR/chest/mass" in names
    sizes = db.query("SELECT count(*) FROM image_label GROUP BY label_id ORDER BY 1")
    assert sizes == [(1,), (6,)]
    assert db.query("SELECT DISTINCT modality, region FROM image") == [("XR", "chest")]
    lines[0] = "0.png,,,XR,chest,PLEURALEFFUSION"
    assert db.ingest(manifest(tmp_path, *lines), metadata_only=True).unchanged == 7
    assert [name for (name,) in db.query("SELECT name FROM label ORDER BY name")] == names


def test_a_uri_listed_twice_is_rejected_with_the_reason_and_the_first_row_counts(
    database_url: str, tmp_path: Path, run_medcbir: RunMedcbir
) -> None:
    file = manifest(
        tmp_path, "a.png,p1,train,CT,chest,nodule", "b.png,p2,train,CT,chest,", "a.png,p3,test,CT,chest,mass"
    )
    done = run_medcbir("ingest", file, "--metadata-only", "--database-url", database_url)
    assert done.returncode == 3, done.stderr
    assert "2 images added, 0 updated, 0 unchanged, 1 rejected" in done.stdout
    with medcbir.connect(database_url) as db:
        assert db.query("SELECT uri, patient, split FROM image_vectors ORDER BY uri") == [
            ("a.png", "p1", "train"),
            ("b.png", "p2", "train"),
        ]
        [(uri, kind, reason)] = db.query("SELECT uri, kind, reason FROM rejected")
        assert (uri, kind) == ("a.png", "invalid")
        assert reason.startswith("listed more than once; the first row counts")


@pytest.mark.parametrize("rows_", [("a.png,", "a.png,0"), ("a.png,1", "a.png,"), ("a.png,1", "a.png,1")])
@pytest.mark.parametrize("between", [0, 5000])
def test_a_whole_file_and_one_of_its_frames_are_the_same_image(
    db: medcbir.Database, tmp_path: Path, rows_: tuple[str, str], between: int
) -> None:
    """Whether they meet in one batch or not."""
    others = [f"{number}.png," for number in range(between)]
    file = manifest(tmp_path, rows_[0], *others, rows_[1], header="uri,frame")
    report = db.ingest(file, metadata_only=True)
    assert (report.added, report.rejected) == (between + 1, 1)
    assert count(db, "image") == between + 1
    assert "listed more than once" in db.query("SELECT reason FROM rejected")[0][0]


def test_several_frames_of_a_file_may_be_listed(db: medcbir.Database, tmp_path: Path) -> None:
    report = db.ingest(manifest(tmp_path, "a.dcm,0", "a.dcm,2", "a.dcm,1", header="uri,frame"), metadata_only=True)
    assert (report.added, report.rejected) == (3, 0)


def test_a_malformed_row_is_rejected_with_its_line_and_forgotten_when_mended(
    database_url: str, tmp_path: Path, run_medcbir: RunMedcbir
) -> None:
    good = ["a.png,p1,train,CT,chest,nodule", "b.png,p2,train,CT,chest,"]
    bad = ["c.png,p3,sometimes,CT,chest,", "d.png,p4,train,CT"]
    arguments = ("ingest", tmp_path / "manifest.csv", "--metadata-only", "--database-url", database_url)
    manifest(tmp_path, good[0], bad[0], good[1], bad[1])
    done = run_medcbir(*arguments)
    assert done.returncode == 3
    assert "2 images added, 0 updated, 0 unchanged, 2 rejected" in done.stdout
    with medcbir.connect(database_url) as db:
        assert db.query("SELECT uri, kind, reason FROM rejected ORDER BY uri") == [
            (
                "manifest.csv:3",
                "invalid",
                "line 3: column split: unknown split 'sometimes'; known are train, val, test",
            ),
            ("manifest.csv:5", "invalid", "line 5: 4 cells where the header has 6"),
        ]
        manifest(tmp_path, good[0], "c.png,p3,test,CT,chest,", good[1], "d.png,p4,train,CT,chest,")
        done = run_medcbir(*arguments)
        assert done.returncode == 0
        assert "2 images added, 0 updated, 2 unchanged, 0 rejected" in done.stdout
        assert rows(db, "rejected", "uri") == []


def test_what_was_rejected_and_is_mended_is_no_longer_listed(
    db: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    folder = tmp_path / "images"
    file = draw_images(folder, 1)[0]
    content = file.read_bytes()
    file.write_bytes(content[:60])
    report = db.ingest(folder, encode=False)
    assert (report.added, report.rejected) == (0, 1)
    assert db.query("SELECT uri, kind FROM rejected") == [(str(file), "unreadable")]
    file.write_bytes(content)
    report = db.ingest(folder, encode=False)
    assert (report.added, report.rejected) == (1, 0)
    assert rows(db, "rejected", "uri") == []


def test_imported_vectors_stay_when_the_files_arrive(
    db: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    draw_images(tmp_path, 4)
    lines = [f"000{number}.png,p{number},train,CT,chest,nodule" for number in range(4)]
    file = manifest(tmp_path, *lines)
    report = db.ingest(file, metadata_only=True)
    assert report.added == 4
    assert db.query("SELECT DISTINCT path, width FROM image") == [(None, None)]
    given = default_rng(0).normal(size=(4, 6)).astype(np.float32)
    np.savez(tmp_path / "v.npz", uri=[f"000{number}.png" for number in range(4)], vector=given)
    db.import_vectors(tmp_path / "v.npz", encoder="elsewhere")
    before = db.query("SELECT image_id, v::text FROM embedding ORDER BY 1")
    assert len(before) == 4

    report = db.ingest(file, encode=False)
    assert (report.added, report.updated) == (0, 4)
    assert db.query("SELECT image_id, v::text FROM embedding ORDER BY 1") == before
    assert db.query("SELECT count(path), count(pixel_sha256) FROM image") == [(4, 4)]

    report = db.ingest(file, metadata_only=True)
    assert report.added == 0
    assert db.query("SELECT count(path), count(pixel_sha256) FROM image") == [(4, 4)]
    assert db.query("SELECT image_id, v::text FROM embedding ORDER BY 1") == before


def test_metadata_without_files_does_not_take_frames_away(db: medcbir.Database, tmp_path: Path) -> None:
    shutil.copy(MULTI_FRAME, tmp_path / "cine.dcm")
    frames = pydicom.dcmread(MULTI_FRAME).NumberOfFrames
    file = manifest(tmp_path, "cine.dcm,p1,train,US,heart,")
    assert db.ingest(file, encode=False).added == frames > 1
    manifest(tmp_path, "cine.dcm,p1,test,US,heart,")
    db.ingest(file, metadata_only=True)
    assert db.query("SELECT count(*), count(path), count(pixel_sha256) FROM image") == [(frames, frames, frames)]


def test_an_image_keeps_what_its_source_says_beside_the_columns_that_are_known(
    db: medcbir.Database, tmp_path: Path
) -> None:
    header = "uri,split,Age group,note"
    db.ingest(manifest(tmp_path, 'a.png,val,60-70,"tab\tquote"" \\ back"', header=header), metadata_only=True)
    [(split, attributes)] = db.query("SELECT split, attributes FROM image")
    assert split == "val"
    assert attributes == {"Age group": "60-70", "note": 'tab\tquote" \\ back'}


def test_two_commands_may_fill_one_catalogue_at_the_same_moment(
    database_url: str, tmp_path: Path, draw_images: DrawImages, start_medcbir: Callable[..., Any]
) -> None:
    draw_images(tmp_path, 80, folders=("CT/chest", "MR/brain"))
    arguments = ("ingest", tmp_path, "--no-encode", "--database-url", database_url)
    started = [start_medcbir(*arguments) for _ in range(2)]
    for process in started:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stdout + stderr
    with medcbir.connect(database_url) as db:
        assert count(db, "image") == count(db, "image_label") == 80
        assert count(db, "label") == 2


@pytest.fixture(scope="module")
def dicom_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that pydicom brings and that pydicom-data brings, those that are no DICOM included."""
    import data_store

    folder = tmp_path_factory.mktemp("dicom")
    (folder / "pydicom").symlink_to(TEST_FILES)
    (folder / "pydicom-data").symlink_to(Path(next(iter(data_store.__path__))) / "data")
    return folder


@pytest.fixture(scope="module")
def after_dicom(
    clone: Callable[..., str], dicom_files: Path, run_medcbir: RunMedcbir
) -> Iterator[tuple[medcbir.Database, CompletedProcess[str]]]:
    url = clone()
    done = run_medcbir("ingest", dicom_files, "--no-encode", "--database-url", url)
    with medcbir.connect(url) as db:
        yield db, done


def test_every_file_of_pydicom_ends_as_images_or_as_a_rejection_with_a_reason(
    after_dicom: tuple[medcbir.Database, CompletedProcess[str]], dicom_files: Path
) -> None:
    db, done = after_dicom
    assert done.returncode == 3, done.stderr  # there are deliberately broken ones
    on_disk = {f"{top}/{name}" for top, _, names in os.walk(dicom_files, followlinks=True) for name in names}
    assert len(on_disk) > 200
    images = {uri for (uri,) in db.query("SELECT DISTINCT uri FROM image")}
    rejected = dict(db.query("SELECT uri, reason FROM rejected"))
    assert images | set(rejected) == on_disk
    assert not images & set(rejected)
    assert all(reason.strip() for reason in rejected.values())
    assert not [uri for uri, reason in rejected.items() if "crashed" in reason or "stopped" in reason]
    assert len(images) > 100
    assert f"{count(db, 'image')} images added" in done.stdout


def test_no_patient_is_named_anywhere(
    after_dicom: tuple[medcbir.Database, CompletedProcess[str]], dicom_files: Path
) -> None:
    db, done = after_dicom
    named = set()
    for top, _, names in os.walk(dicom_files, followlinks=True):
        for name in names:
            try:
                header = pydicom.dcmread(Path(top) / name, stop_before_pixels=True, force=True)
                named |= {str(header.get(keyword, "")).strip("\0 ") for keyword in ("PatientName", "PatientID")}
            except Exception:  # noqa: S112, the deliberately broken ones
                continue
    named = {word for word in named if len(word) > 4}
    assert len(named) > 30
    dumped = done.stdout + done.stderr
    for (table,) in db.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'medcbir' AND table_type = 'BASE TABLE'"
    ):
        for (row,) in db.query(f"SELECT to_jsonb(t) - 'uri' - 'path' FROM {table} AS t"):  # files are named by others
            dumped += "\n" + "\n".join(str(value) for value in row.values())
    assert "1.2.840" in dumped
    identifiers = set(db.query("SELECT study_uid, series_uid, instance_uid FROM image"))
    uids = {uid for row in identifiers for uid in row if uid}
    text = dumped.casefold()
    found = {word for word in named if word.casefold() in text and not any(word in uid for uid in uids)}
    assert found == set()


def test_an_interrupted_transaction_leaves_no_half_image(db: medcbir.Database, tmp_path: Path) -> None:
    """A server that goes away in the middle is one clear error, and the next call goes on."""
    db.ingest(manifest(tmp_path, "a.png,,,CT,chest,nodule"), metadata_only=True)
    with psycopg.connect(db.conninfo, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    file = manifest(tmp_path, "a.png,,,CT,chest,nodule", "b.png,,,CT,chest,mass")
    with pytest.raises(medcbir.errors.DatabaseError, match="the same command goes on"):
        db.ingest(file, metadata_only=True)
    assert db.ingest(file, metadata_only=True).added == 1
    assert count(db, "image_label") == 2


@pytest.fixture
def ascii_database(server: str) -> Iterator[str]:
    """A database of encoding SQL_ASCII, which is what initdb makes where the locale is C."""
    name = f"ascii_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'".encode())
        yield make_conninfo(**(conninfo_to_dict(server) | {"dbname": name}))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_database_without_encoding_keeps_every_character(ascii_database: str, tmp_path: Path) -> None:
    file = manifest(tmp_path, "Bild_ä_影像.png,Müller,train,CT,chest,Lungenödem")
    with medcbir.connect(ascii_database, data_dir=tmp_path) as db:
        assert db.ingest(file, metadata_only=True).added == 1
        assert db.query("SELECT uri, patient, findings FROM image_vectors") == [
            ("Bild_ä_影像.png", "Müller", ["Lungenödem"])
        ]
