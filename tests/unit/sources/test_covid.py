import re

import pytest

from medcbir.errors import InputError
from medcbir.labels import parse_label
from medcbir.sources import Options, find_source, sources
from medcbir.types import ImageRecord, Rejection

LABELS = {"normal": "No Finding", "pneumonia": "Pneumonia", "COVID-19": "COVID-19"}


def read(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def images(path, **options):
    return {item.uri: item for item in read(path, **options) if isinstance(item, ImageRecord)}


def expected(root):
    """The records of the tree, worked out the slow way."""
    records = {}
    for split in ("train", "test"):  # what the test set lists comes last, and wins
        for line in (root / f"{split}.txt").read_text().splitlines():
            named = re.search(r" (?P<name>.+\.\w+) (?P<named>\S+) (?P<origin>\S+)$", line)
            if named is None:
                continue
            files = sorted(root.rglob(named["name"]))
            if not files:
                continue
            known = named["named"] in LABELS
            records[named["name"]] = ImageRecord(
                uri=named["name"],
                dataset="covid",
                path=files[0],
                patient=line.split()[0],
                modality="XR",
                region="chest",
                split=split,
                labels=(parse_label(f"XR/chest/{LABELS[named['named']]}"),) if known else (),
                attributes=({} if known else {"unknown": [named["named"]]}) | {"source": named["origin"]},
            )
    return records


def test_the_tree_gives_exactly_the_expected_records(tree):
    assert images(tree("covid")) == expected(tree("covid"))
    assert len(images(tree("covid"))) == 240


def test_names_with_blanks_are_whole(tree):
    record = images(tree("covid"))["COVID 007 (1).jpg"]
    assert (record.patient, record.attributes["source"]) == ("tr3", "cohen")
    assert record.path.is_file()


def test_its_classes_are_those_of_the_other_chest_datasets(tree):
    from medcbir.labels import publisher_labels

    named = {label for item in images(tree("covid")).values() for label in item.labels}
    others = {publisher_labels("nih14")["No Finding"], publisher_labels("chexpert")["Pneumonia"]}
    assert {label.name for label in named - others} == {"XR/chest/COVID-19"}


def test_what_does_not_fit_is_told(tree):
    assert [(item.uri, item.reason) for item in read(tree("covid")) if isinstance(item, Rejection)] == [
        ("case-211-day0.jpg", "listed more than once; the first row counts"),
        ("train.txt:212", "line 212: is not `patient filename class source`"),
        ("metadata.csv", "its name is not that of an image (.png, .jpg, .jpeg)"),
        ("train/case-211-day0.jpg", "a second file of this name; the first one counts"),
        ("train/unlisted.png", "no manifest lists this image"),
        ("case-4-day0.jpg", "a manifest lists this image, and its file is missing"),
        ("gone.png", "a manifest lists this image, and its file is missing"),
    ]


def test_a_validation_list_is_read_where_it_is(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text(f"1 {split}.png COVID-19 cohen\n")
    assert {item.uri: item.split for item in read(tmp_path, metadata_only=True)} == {
        "train.png": "train",
        "val.png": "val",
        "test.png": "test",
    }


def test_lists_of_something_else_are_not_taken(tmp_path):
    for content in (b"", b"one two three\n", b"1 a.png malignant b\n", b"\xff\xfe"):
        for split in ("train", "test"):
            (tmp_path / f"{split}.txt").write_bytes(content)
        assert find_source(tmp_path).name == "folder"
        with pytest.raises(InputError, match="does not begin with a line"):
            sources()["covid"].records(tmp_path, Options())
