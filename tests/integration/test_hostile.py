"""A folder that somebody has made to break the ingest: the good images are catalogued, all else told with a reason."""

import os
import shutil
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pydicom
import pytest
from PIL import Image

import medcbir
from medcbir.pixels.dicom import quiet_pydicom

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
DISC = TEST_FILES / "dicomdirtests"

RunMedcbir = Callable[..., CompletedProcess[str]]
DrawImages = Callable[..., list[Path]]


def rejected(db: medcbir.Database) -> dict[str, tuple[str, str]]:
    return {uri: (kind, reason) for uri, kind, reason in db.query("SELECT uri, kind, reason FROM rejected")}


def test_a_hostile_folder_costs_nothing_but_its_own_files(
    database_url: str, tmp_path: Path, run_medcbir: RunMedcbir, draw_images: DrawImages
) -> None:
    root = tmp_path / "images"
    draw_images(root / "good", 3)
    (root / "sparse.png").write_bytes((root / "good" / "0000.png").read_bytes()[:40])
    os.truncate(root / "sparse.png", 2**40)  # a terabyte, none of it on the disk
    huge = bytearray((root / "good" / "0000.png").read_bytes())
    huge[16:24] = struct.pack(">2I", 2**31 - 1, 2**31 - 1)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    (root / "huge.png").write_bytes(huge)
    deep = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 10_000
    (root / "deep.dcm").write_bytes(bytes(128) + b"DICM" + deep)
    (root / "cut.dcm").write_bytes((TEST_FILES / "CT_small.dcm").read_bytes()[:20_000])
    shutil.copy(TEST_FILES / "MR_small.dcm", root / "really-dicom.png")
    shutil.copy(TEST_FILES / "waveform_ecg.dcm", root)
    shutil.copy(root / "good" / "0000.png", root / ("a\n\x1b[2J" + "n" * 200 + ".png"))
    (root / "\x1b]0;title\x07.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.png")).write_bytes(b"x")
    (root / "loop").symlink_to(root)
    (root / "out.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.dcm")
    listening = socket.socket(socket.AF_UNIX)
    os.chdir(root)  # a socket's name is short
    listening.bind("socket")
    os.chdir("/")

    done = run_medcbir("ingest", root, "--no-encode", "--database-url", database_url)
    listening.close()
    assert done.returncode == 3, done.stderr
    assert "5 images added" in done.stdout
    assert "9 rejected, 1 files without an image" in done.stdout
    assert all(line.isprintable() for line in (done.stderr + done.stdout).splitlines())
    with medcbir.connect(database_url) as db:
        told = {Path(uri).name: reason for uri, (_, reason) in rejected(db).items()}
    assert all(reason.isprintable() for reason in told.values())
    assert "memory" in told["sparse.png"] or "damaged" in told["sparse.png"]
    assert "more than the limit" in told["huge.png"]
    assert "RecursionError" in told["deep.dcm"]
    assert "cut short" in told["cut.dcm"]
    assert "12-lead ECG" in told["waveform_ecg.dcm"]
    assert {told["out.png"], told["pipe.dcm"], told["socket"]} == {"is not a regular file"}
    assert "UTF-8" in told["\\xff.png"]


def test_a_manifest_leads_nowhere_that_it_should_not(
    db: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    folder = tmp_path / "listed"
    [image] = draw_images(folder, 1)
    os.mkfifo(folder / "pipe.png")
    (tmp_path / "secret.txt").write_text("secret")
    long = "n" * 3000
    names = [
        *("0000.png", "../secret.txt", "a/../../secret.txt", "/etc/hostname", "pipe.png", "/dev/zero", f"{long}.png"),
        *("gone\x1b[2J.png", "/".join("d" * 20 for _ in range(80)) + "/x.png"),
    ]
    manifest = folder / "manifest.csv"
    manifest.write_text("uri,patient\n" + "".join(f'"{name}",p\n' for name in names) + f"late.png,{long}\n")
    shutil.copy(image, folder / "late.png")

    report = db.ingest(manifest, encode=False)
    assert (report.added, report.rejected, report.ignored) == (1, 6, 3)
    told = rejected(db)
    assert all(reason.isprintable() for _, reason in told.values())
    assert all("secret" not in uri for uri in told)
    assert told["manifest.csv:3"] == ("invalid", "line 3: column uri: leads out of the root folder")
    assert told["manifest.csv:4"][1] == "line 4: column uri: leads out of the root folder"
    assert told["/etc/hostname"][0] == "not_an_image"
    assert told["/dev/zero"] == told["pipe.png"] == ("not_an_image", "is not a regular file")
    assert told["late.png"] == ("invalid", "its patient is longer than 500 bytes")
    [cut] = [uri for uri in told if uri.startswith("nnn")]
    assert len(cut) == 2000
    assert db.ingest(manifest, encode=False).unchanged == 1


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nopatient"])
def test_a_dicomdir_stands_for_the_instances_that_it_refers_to(db: medcbir.Database, name: str) -> None:
    """All of three folders, of which the fourth has a DICOMDIR of its own."""
    folders = (DISC / patient for patient in ("77654033", "98892001", "98892003"))
    wanted = {str(file) for folder in folders for file in folder.rglob("*") if file.is_file()}
    report = db.ingest(DISC / name, encode=False)
    assert (report.added, report.rejected) == (len(wanted), 0)
    assert {row[0] for row in db.query("SELECT uri FROM image")} == wanted


def test_a_dicomdir_of_a_folder_tells_what_is_missing_and_leads_nowhere_else(
    db: medcbir.Database, tmp_path: Path
) -> None:
    disc = tmp_path / "disc"
    shutil.copytree(DISC / "77654033", disc / "77654033")
    shutil.copy(DISC / "DICOMDIR", disc)
    shutil.copy(TEST_FILES / "CT_small.dcm", tmp_path / "OUTSIDE")
    dataset = pydicom.dcmread(disc / "DICOMDIR")
    images = [item for item in dataset.DirectoryRecordSequence if "ReferencedFileID" in item]
    here = [item for item in images if item.ReferencedFileID[0] == "77654033"]
    gone = len(images) - len(here)
    for item, parts in zip(here, (["..", "OUTSIDE"], [str(tmp_path / "OUTSIDE")], ["LINK", "OUTSIDE"]), strict=False):
        with quiet_pydicom():
            item.ReferencedFileID = parts
    (disc / "LINK").symlink_to(tmp_path)
    with quiet_pydicom():
        dataset.save_as(disc / "DICOMDIR")
    (disc / "77654033").rename(disc / "77654033.")  # as some discs are copied

    alone = db.ingest(disc / "DICOMDIR", encode=False, name="alone")
    assert (alone.added, alone.rejected) == (len(here) - 3, gone + 3)
    assert not db.query("SELECT uri FROM image WHERE uri LIKE '%OUTSIDE'")
    told = rejected(db)
    assert sum(reason.endswith("outside of the DICOMDIR's folder") for _, reason in told.values()) == 3
    assert sum(reason.endswith("it is missing") for _, reason in told.values()) == gone

    (disc / "LINK").unlink()
    whole = db.ingest(disc, encode=False, name="whole")
    assert (whole.added, whole.rejected, whole.ignored) == (len(here), gone + 3, 1)


@pytest.mark.parametrize("content", [b"", b"\x04\0\x20\x12SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 9999])
def test_a_dicomdir_that_cannot_be_used_is_told(db: medcbir.Database, tmp_path: Path, content: bytes) -> None:
    whole = (DISC / "DICOMDIR").read_bytes()
    meta = 144 + pydicom.dcmread(DISC / "DICOMDIR").file_meta.FileMetaInformationGroupLength
    (tmp_path / "DICOMDIR").write_bytes(whole[:meta] + content)
    report = db.ingest(tmp_path / "DICOMDIR", encode=False)
    assert (report.added, report.rejected + report.ignored) == (0, 1)
    [(_, reason)] = rejected(db).values()
    assert reason in ("is a DICOMDIR that refers to no file", "is a DICOMDIR that cannot be read")


def test_many_small_files_in_one_folder_are_listed_without_opening_one(tmp_path: Path) -> None:
    import sys
    import tracemalloc

    from medcbir.sources import Options, find_source

    names = [sys.intern(f"{number}.dcm") for number in range(3_000)]  # or the interpreter's table of names grows below
    for name in names:
        (tmp_path / name).touch()
    source = find_source(tmp_path)
    next(iter(source.records(tmp_path, Options())))  # what it imports is no memory of the folder
    tracemalloc.start()
    try:
        found = sum(1 for _ in source.records(tmp_path, Options()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 3_000
    assert peak / found < 500  # bytes a file, of the folder that is being listed


def test_rows_without_end_and_packed_rows_without_number_are_bounded(tmp_path: Path) -> None:
    import gzip
    import tracemalloc

    from medcbir.errors import InputError
    from medcbir.sources._table import open_table

    endless = tmp_path / "endless.csv"
    with endless.open("wb") as stream:
        stream.write(b"uri,patient\na.png,1\n" + b"x" * 5_000_000 + b"\nb.png,2\n" + b'"\n","' * 500_000)
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as packed:
        packed.write(b"uri,patient\n" + (b"x" * 100_000 + b"\n") * 500)
    tracemalloc.start()
    try:
        rows = [cells for _, cells in open_table(endless).rows()]
        assert [cells for cells in rows if isinstance(cells, list)][:2] == [["a.png", "1"], ["b.png", "2"]]
        assert rows[1] == "a row of more than 1000000 characters"
        with pytest.raises(InputError, match="grows a hundredfold"):
            list(open_table(bomb).rows())
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_a_worker_has_a_limit_of_memory_and_what_exceeds_it_is_one_rejection(tmp_path: Path) -> None:
    from medcbir.ingest.pool import WorkerPool
    from medcbir.types import Entry, ImageRecord

    good, wild = tmp_path / "good.png", tmp_path / "wild.png"
    Image.fromarray(np.eye(16, dtype=np.uint8)).save(good)
    wild.write_bytes(good.read_bytes())
    os.truncate(wild, 2**42)
    with WorkerPool("inspect", workers=1) as pool:
        answers = [
            answer
            for _, answer in pool.map(
                (ImageRecord(file.name, "d", file), b"key", 10_000) for file in (good, wild, good)
            )
        ]
    assert isinstance(answers[0][0], Entry)
    assert answers[1].kind == "unreadable"
    assert answers[2] == answers[0]
