import os
from pathlib import Path

import pytest

from medcbir.errors import InputError
from medcbir.sources import Options, find_source
from medcbir.types import ImageRecord, Rejection


@pytest.fixture
def tree(tmp_path):
    def make(*files: str) -> Path:
        root = tmp_path / "data"
        for file in files:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return root

    return make


def records(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def told(record):
    return record.split, record.modality, record.region, [label.name for label in record.labels]


def test_every_file_becomes_a_record_in_sorted_order(tree):
    root = tree("b.png", "a/z.dcm", "a/notes.txt", "A/x", ".hidden")
    found = records(root)
    below = [os.path.relpath(record.uri, root) for record in found]
    assert below == [".hidden", "A/x", "a/notes.txt", "a/z.dcm", "b.png"]
    assert all(record.path == Path(record.uri) and record.dataset == "data" for record in found)


@pytest.mark.parametrize(
    ("start", "file", "expected"),
    [
        (".", "CT/chest/nodule/1.png", (None, "CT", "chest", ["CT/chest/nodule"])),
        (".", "CT/chest/nodule/deep/er/1.png", (None, "CT", "chest", ["CT/chest/nodule"])),
        (".", "x/MRI/Brain/1.png", (None, "MR", "brain", ["MR/brain"])),
        (".", "US/1.png", (None, "US", None, [])),
        (".", "valid/X-Ray/chest/No Finding/1.png", ("val", "XR", "chest", ["XR/chest/No Finding"])),
        (".", "training/more/CT/abdomen/cyst/1.png", ("train", "CT", "abdomen", ["CT/abdomen/cyst"])),
        (".", "CT/test/nodule/1.png", (None, "CT", "test", ["CT/test/nodule"])),
        (".", "holiday/1.png", (None, None, None, [])),
        ("CT", "CT/chest/nodule/1.png", (None, "CT", "chest", ["CT/chest/nodule"])),
        ("CT/chest", "CT/chest/nodule/1.png", (None, "CT", "chest", ["CT/chest/nodule"])),
        ("CT/chest/nodule", "CT/chest/nodule/1.png", (None, "CT", "chest", ["CT/chest/nodule"])),
        ("test/CT/chest", "test/CT/chest/nodule/1.png", ("test", "CT", "chest", ["CT/chest/nodule"])),
        ("train", "train/CT/chest/nodule/1.png", ("train", "CT", "chest", ["CT/chest/nodule"])),
        ("opt/images", "opt/images/1.png", (None, None, None, [])),
        ("test/a/b", "test/a/b/1.png", (None, None, None, [])),
    ],
)
def test_folders_named_as_labels_are_labels(tree, start, file, expected):
    [record] = records(tree(file) / start)
    assert told(record) == expected


def test_a_file_named_as_a_modality_is_no_label(tree):
    [record] = records(tree("things/CT"))
    assert told(record) == (None, None, None, [])


def test_a_single_file_is_read_with_its_folders(tree):
    root = tree("CT/chest/nodule/1.png", "CT/chest/nodule/2.png")
    [record] = records(root / "CT/chest/nodule/1.png")
    assert told(record) == (None, "CT", "chest", ["CT/chest/nodule"])
    assert record.dataset == "nodule"


def test_a_template_names_the_parts(tree):
    root = tree("train/CT/chest/nodule/p7_001.png", "train/CT/chest/nodule/unnumbered.png", "else/1.png")
    template = "{split}/{modality}/{region}/{finding}/{patient}_*"
    other, matching, plain = records(root, label_from=template)
    assert told(matching) == ("train", "CT", "chest", ["CT/chest/nodule"])
    assert matching.patient == "p7"
    assert told(other) == told(plain) == (None, None, None, [])


def test_a_template_leaves_the_remainder_free_and_stars_stay_within_a_component(tree):
    root = tree("site1/S12-x/CT/chest/a/b.png")
    [record] = records(root, label_from="*/{study}-*/{modality}/{region}")
    assert (record.study_uid, *told(record)[1:3]) == ("S12", "CT", "chest")
    [record] = records(root, label_from="*/{modality}")
    assert record.modality == "S12-x"


@pytest.mark.parametrize(
    ("template", "named"),
    [("{site}/x", "{site}"), ("{split", "brace"), ("split}", "brace"), ("{split}/{split}", "{split}"), ("", "empty")],
)
def test_a_wrong_template_names_what_is_wrong(tree, template, named):
    root = tree("a.png")
    with pytest.raises(InputError, match="--label-from") as caught:
        find_source(root).records(root, Options(label_from=template))
    assert named in str(caught.value)


def test_what_the_user_says_wins(tree):
    root = tree("train/CT/chest/1.png")
    [record] = records(root, name="mine", split="test", metadata_only=True)
    assert (record.dataset, record.split, record.path) == ("mine", "test", None)


def test_linked_folders_are_followed_once_and_loops_end(tree, tmp_path):
    root = tree("a/1.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "2.png").write_bytes(b"x")
    (root / "a" / "loop").symlink_to(root)
    (root / "b").symlink_to(outside)
    (root / "c").symlink_to(outside)
    (root / "file").symlink_to(outside / "2.png")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "self").symlink_to(root / "self")
    found = records(root)
    images = [os.path.relpath(item.uri, root) for item in found if isinstance(item, ImageRecord)]
    refused = {os.path.relpath(item.uri, root): item.reason for item in found if isinstance(item, Rejection)}
    assert images == ["a/1.png", "b/2.png", "file"]
    assert set(refused) == {"gone", "self"}


def test_names_that_are_not_utf8_are_refused_with_a_printable_uri(tree):
    root = tree("ok.png")
    Path(os.fsdecode(os.fsencode(root) + b"/bad\xff.png")).write_bytes(b"x")
    bad, ok = records(root)
    assert isinstance(bad, Rejection)
    assert bad.uri.endswith("bad\\xff.png")
    assert "UTF-8" in bad.reason
    assert isinstance(ok, ImageRecord)


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tree):
    root = tree("a.png")
    os.mkfifo(root / "pipe")
    assert [item.reason for item in records(root) if isinstance(item, Rejection)] == ["is not a regular file"]


def test_a_folder_that_cannot_be_read_is_refused(tree, monkeypatch):
    root = tree("locked/1.png", "open/2.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    locked, free = records(root)
    assert locked.reason == "folder cannot be read: Permission denied"
    assert free.uri.endswith("open/2.png")


def test_the_walk_is_lazy(tree):
    root = tree("a/1.png", "b/2.png")
    stream = find_source(root).records(root, Options())
    assert next(stream).uri.endswith("a/1.png")
    (root / "b" / "3.png").write_bytes(b"x")
    assert len(list(stream)) == 2
