"""What every source promises; a new one is tested here by being found."""

import os
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import medcbir.sources
from medcbir.errors import InputError
from medcbir.labels import label_key, parse_label
from medcbir.sources import Options, Source, find_source, parse_place, sources
from medcbir.types import ImageRecord, Rejection

EVERY = pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)
LAYOUTS = [source for source in sources().values() if source.records_at is None]
EVERY_LAYOUT = pytest.mark.parametrize("source", LAYOUTS, ids=lambda source: source.name)
SERVERS = [source for source in sources().values() if source.records_at is not None]
EVERY_SERVER = pytest.mark.parametrize("source", SERVERS, ids=lambda source: source.name)


def test_every_module_is_a_source_and_every_name_is_its_own():
    modules = [module.name for module in pkgutil.iter_modules(medcbir.sources.__path__) if module.name[0] != "_"]
    assert len(sources()) == len(modules) >= 4
    assert {"csv", "dicom", "folder", "published"} <= set(sources())
    assert {"radimagenet", "nih14", "mimic", "chexpert", "covid"} <= set(sources())


@EVERY
def test_a_source_has_a_name_for_the_command_line_and_a_title(source):
    assert isinstance(source, Source)
    assert source.name == source.name.lower().strip()
    assert source.name != "auto"
    assert source.title
    assert "\n" not in source.title


@EVERY
def test_a_source_looks_at_any_path_without_failing(source, tmp_path):
    (tmp_path / "file").write_bytes(b"\0\xff\n")
    for path in (tmp_path, tmp_path / "file"):
        assert source.recognises(path) in (True, False)


@EVERY
def test_a_source_given_a_strange_file_yields_or_says_why_not(source, tmp_path):
    path = tmp_path / "strange.txt"
    path.write_text("nothing of use\n")
    try:
        stream = source.records(path, Options())
    except InputError as error:
        told = str(error)
    else:
        assert isinstance(stream, Iterator)
        told = "".join(item.uri for item in stream)
    assert "strange.txt" in told


@EVERY_SERVER
def test_a_server_is_a_place_of_its_own_and_a_path_is_none(source, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    assert not source.recognises(tmp_path)
    assert find_source(parse_place("https://pacs.example/dicom-web"), source.name) is source
    for path in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(InputError, match="is not the URL of"):
            source.read(path, Options())


@EVERY_SERVER
def test_a_server_has_a_test_against_a_real_one_instead_of_a_tree(source):
    """There is no tree that it could read; what it promises is shown in tests/integration."""
    tests = Path(__file__).parents[1]
    assert not (tests / "trees" / f"{source.name}.py").exists()
    assert any(source.name in file.read_text().lower() for file in (tests / "integration").glob("test_*.py"))


@EVERY_LAYOUT
def test_a_layout_of_files_is_not_looked_for_at_a_url(source):
    url = parse_place("https://pacs.example/dicom-web")
    with pytest.raises(InputError, match=f"{source.name} is a layout of files"):
        find_source(url, source.name).read(url, Options())


def test_a_url_goes_to_a_server_and_holds_nothing_but_a_place():
    assert find_source(parse_place("HTTPS://PACS.example:8042/dicom-web/")).name == "dicomweb"
    assert parse_place("https://pacs.example:8042/dicom-web/") == "https://pacs.example:8042/dicom-web"
    assert parse_place("https:/pacs.example") == Path("https:/pacs.example")
    for url in (
        "https://me:s3cret@pacs.example/dicom-web",
        "https://s3cret@pacs.example",
        "https://pacs.example/dicom-web?token=s3cret",
        "https://pacs.example/dicom-web#s3cret",
        "https:///s3cret",
        "https://pacs.example:s3cret/",
        "https://[s3cret/",
    ):
        with pytest.raises(InputError) as told:
            parse_place(url)
        assert "s3cret" not in str(told.value)


# From here on with a tree of each source, as tests/trees/<name>.py builds it.


def read(source, path, **options):
    return list(source.records(path, Options(**options)))


def records(items):
    return [item for item in items if isinstance(item, ImageRecord)]


@EVERY_LAYOUT
def test_a_tree_is_recognised_by_its_own_source_and_no_other_claims_it(source, tree):
    path = tree(source.name)
    claims = {name for name, each in sources().items() if each.recognises(path)} - {"folder"}
    assert claims == {source.name} - {"folder", "dicom"}  # nothing marks DICOM files before they are opened
    assert find_source(path) is (sources()["folder"] if source.name == "dicom" else source)


@EVERY_LAYOUT
def test_every_file_or_row_becomes_a_record_or_a_rejection_with_its_reason(source, tree):
    items = read(source, tree(source.name))
    assert records(items)
    for item in items:
        assert isinstance(item, ImageRecord | Rejection)
        assert item.uri
        assert item.dataset
        if isinstance(item, Rejection):
            assert item.reason
            assert "\n" not in item.reason
            assert item.kind in ("unreadable", "not_an_image", "invalid")


@EVERY_LAYOUT
def test_the_same_tree_gives_the_same_records_in_the_same_order(source, tree):
    assert read(source, tree(source.name)) == read(source, tree(source.name))


@EVERY_LAYOUT
def test_the_order_is_not_that_of_the_file_system(source, tree, monkeypatch):
    before = read(source, tree(source.name))
    scandir = os.scandir

    class Backwards:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = list(entries)

        def __enter__(self):
            return iter(sorted(self.entries, key=lambda entry: entry.name, reverse=True))

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert read(source, tree(source.name)) == before


@EVERY_LAYOUT
def test_no_file_is_asked_about_by_itself(source, tree, monkeypatch):
    """A folder's listing says what is there: questions to the file system grow with folders, not with images."""
    path = tree(source.name)
    folders = sum(each.is_dir() for each in (path if path.is_dir() else path.parent).rglob("*"))
    asked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda *arguments, **options: asked.append(1) or stat(*arguments, **options))
    read(source, path)
    assert len(asked) <= folders + 20


@EVERY_LAYOUT
def test_an_image_is_described_once(source, tree):
    found = records(read(source, tree(source.name)))
    assert len({(item.dataset, item.uri, item.frame) for item in found}) == len(found)


@EVERY_LAYOUT
def test_files_are_there_unless_a_manifest_is_taken_at_its_word(source, tree):
    found = records(read(source, tree(source.name)))
    there = [item for item in found if item.path is not None and item.path.is_file()]
    assert len(there) >= len(found) - (source.name in ("csv", "published"))  # the row without a file is opened and told
    assert {item.path for item in records(read(source, tree(source.name), metadata_only=True))} == {None}


@EVERY_LAYOUT
def test_labels_are_canonical_and_splits_legal(source, tree):
    for item in records(read(source, tree(source.name))):
        assert item.split in ("train", "val", "test", None)
        assert len({label_key(label.name) for label in item.labels}) == len(item.labels)
        for label in item.labels:
            assert label == parse_label(label.name)
            assert label.modality == item.modality
            assert label.region == item.region


@EVERY_LAYOUT
def test_one_dataset_and_split_for_all_images_if_the_user_says_so(source, tree):
    found = records(read(source, tree(source.name), name="mine", split="val"))
    assert {(item.dataset, item.split) for item in found} == {("mine", "val")}


@EVERY_LAYOUT
def test_a_patient_is_in_one_split(source, tree):
    splits = {}
    for item in records(read(source, tree(source.name))):
        if item.patient is not None:
            assert splits.setdefault(item.patient, item.split) == item.split


@EVERY_LAYOUT
def test_strange_neighbours_change_nothing(source, tree, tmp_path):
    path = tree(source.name)
    root = path if path.is_dir() else path.parent
    copy = tmp_path / root.name
    shutil.copytree(root, copy)
    given = copy / path.relative_to(root)
    before = records(read(source, given))
    (copy / "loop").symlink_to(copy)
    (copy / "nowhere.png").symlink_to(copy / "nothing")
    os.mkfifo(copy / "pipe.png")
    (copy / "a\nb.txt").write_text("two lines")
    (copy / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (copy / "no.png").mkdir()
    (copy / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    hidden = copy / "hidden"
    hidden.mkdir()
    hidden.chmod(0)
    try:
        after = records(read(source, given))
    finally:
        hidden.chmod(0o700)
    assert find_source(given).name in (source.name, "folder")
    assert [item for item in after if "\n" not in item.uri and ".DS_Store" not in item.uri] == before


def test_a_source_can_be_asked_for_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    for name, source in sources().items():
        assert find_source(tmp_path, name) is source


def test_auto_recognises_manifests_and_falls_back_to_the_folder(tmp_path):
    for name, header, expected in (
        ("a.csv", "uri,split", "csv"),
        ("b.csv", "filepath,dataset,split,modality,anatomic_region,CT/abd/cyst", "published"),
        ("c.csv", "something,else", "csv"),
        ("d.png", "", "folder"),
    ):
        (tmp_path / name).write_text(f"{header}\n")
        assert find_source(tmp_path / name).name == expected
    assert find_source(tmp_path).name == "folder"


def test_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_source(tmp_path / "nowhere")
    with pytest.raises(InputError, match="empty folder"):
        find_source(tmp_path)
    with pytest.raises(InputError, match="unknown dataset layout 'imagenet'; known are auto, chexpert, covid, csv"):
        find_source(tmp_path, "imagenet")
