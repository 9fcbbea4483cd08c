import csv
import shutil

import pytest

from medcbir.errors import InputError
from medcbir.labels import parse_label
from medcbir.sources import Options, find_source
from medcbir.types import ImageRecord, Rejection

NORMAL = (
    *("aorta", "bladder", "cbd", "fibroid", "gb", "ivc", "kidney", "liver", "ovary", "pancreas", "portal_vein"),
    *("spleen", "thyroid", "uterus"),
)
UNKNOWN = ("CT/abd", "US/gallbladder_mystery")


def read(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def images(path, **options):
    return {item.uri: item for item in read(path, **options) if isinstance(item, ImageRecord)}


def label_of(folder):
    if folder in UNKNOWN:
        return None
    if folder == "US/thyroid_nodule":
        return "US/thyroid/nodule"
    return f"{folder}/normal" if folder.removeprefix("US/") in NORMAL else folder


def expected(root):
    """The records of the tree, worked out the slow way; what is listed with several labels has its own tests."""
    listed: dict[str, list[tuple[str, str]]] = {}
    for split in ("test", "val", "train"):
        with (root / f"RadImageNet_{split}.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                if row["filename"] and row["label"]:
                    name = "radiology_ai/" + row["filename"].removeprefix("radiology_ai/")
                    listed.setdefault(name, []).append((split, row["label"]))
    records = {}
    for file in sorted(root.rglob("*.png")):
        uri = str(file.relative_to(root))
        if uri not in listed or len({named for _, named in listed[uri]}) > 1:
            continue
        splits = [split for split, _ in listed[uri]]
        folder = str(file.parent.relative_to(root / "radiology_ai"))
        label = label_of(folder)
        said = {} if label else {"unknown": [folder]}
        if len(splits) > 1:
            said |= {"listed": len(splits), "listed_in": list(dict.fromkeys(splits))}
        records[uri] = ImageRecord(
            uri=uri,
            dataset="radimagenet",
            path=file,
            modality=folder.split("/")[0],
            region=label.split("/")[1] if label else None,
            split=splits[0],
            labels=(parse_label(label),) if label else (),
            attributes=said,
        )
    return records


def test_the_tree_gives_exactly_the_expected_records(tree):
    found, wanted = images(tree("radimagenet")), expected(tree("radimagenet"))
    assert {uri: found[uri] for uri in wanted} == wanted
    assert len(found) == 269
    assert len(wanted) == 267


def test_labels_pass_through_and_ultrasound_without_a_finding_is_normal(tree):
    labels = {label.name: label for item in images(tree("radimagenet")).values() for label in item.labels}
    assert {f"US/{name}/normal" for name in NORMAL} | {"US/thyroid/nodule"} == {
        name for name in labels if name.startswith("US/")
    }
    assert {"MR/af/Plantar_plate_tear", "CT/lung/Nodule", "MR/brain/white_matter_changes"} <= labels.keys()
    assert {label.kind for name, label in labels.items() if name.endswith("/normal")} == {"anatomy"}
    assert {label.kind for name, label in labels.items() if not name.endswith("/normal")} == {"pathology"}


def test_an_image_of_several_labels_has_them_all(tree):
    record = images(tree("radimagenet"))["radiology_ai/CT/abd/normal/abd-normal000001.png"]
    assert [label.name for label in record.labels] == ["CT/abd/normal", "CT/abd/gallstone"]
    assert record.attributes == {"listed": 3, "listed_in": ["train"]}


def test_a_second_label_that_no_folder_explains_leaves_the_image_without_one(tree):
    record = images(tree("radimagenet"))["radiology_ai/CT/abd/normal/abd-normal000004.png"]
    assert record.labels == ()
    assert record.attributes["unknown"] == ["something"]
    assert record.attributes["findings"] == ["CT/abd/normal"]


def test_an_image_of_several_splits_is_a_test_image_and_says_so(tree):
    record = images(tree("radimagenet"))["radiology_ai/CT/abd/normal/abd-normal000002.png"]
    assert record.split == "test"
    assert record.attributes == {"listed": 2, "listed_in": ["test", "train"]}


def test_what_does_not_fit_is_told(tree):
    assert [(item.uri, item.reason) for item in read(tree("radimagenet")) if isinstance(item, Rejection)] == [
        ("RadImageNet_train.csv:195", "line 195: 1 cells where the header has 2"),
        ("RadImageNet_train.csv:196", "line 196: column filename: '' is no path below radiology_ai"),
        (
            "RadImageNet_train.csv:197",
            "line 197: column filename: 'radiology_ai/../CT/a' is no path below radiology_ai",
        ),
        ("CT/Thumbs.db", "its name is not that of an image (.png, .jpg, .jpeg)"),
        ("CT/abd/normal/unlisted.png", "no manifest lists this image"),
        ("radiology_ai/CT/abd/normal/abd-normal000003.png", "a manifest lists this image, and its file is missing"),
    ]


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("naming", ["RadImageNet", "RadiologyAI"])
def test_either_naming_and_either_place_of_the_tables(tree, tmp_path, naming, within):
    shutil.copytree(tree("radimagenet") / "radiology_ai", tmp_path / "radiology_ai")
    for split in ("train", "val", "test"):
        place = tmp_path / "radiology_ai" if within else tmp_path
        shutil.copy(tree("radimagenet") / f"RadImageNet_{split}.csv", place / f"{naming}_{split}.csv")
    for start in (tmp_path, tmp_path / "radiology_ai"):
        found = images(start)
        assert found.keys() == images(tree("radimagenet")).keys()
        assert {item.split for item in found.values()} == {"train", "val", "test"}


def test_without_tables_the_folders_are_walked_and_the_lack_of_splits_is_told(tree, tmp_path):
    shutil.copytree(tree("radimagenet") / "radiology_ai", tmp_path / "radiology_ai")
    items = read(tmp_path)
    assert isinstance(items[0], Rejection)
    assert items[0].reason.endswith("the images are catalogued without a split")
    found = images(tmp_path)
    assert len(found) == 270
    assert {item.split for item in found.values()} == {None}
    assert found["radiology_ai/US/cbd/cbd000000.png"].labels[0].name == "US/cbd/normal"
    assert {item.split for item in images(tmp_path, split="train").values()} == {"train"}


def test_some_tables_without_the_others_are_a_mistake(tree, tmp_path):
    shutil.copytree(tree("radimagenet"), tmp_path / "x")
    (tmp_path / "x" / "RadImageNet_val.csv").unlink()
    with pytest.raises(InputError, match=r"lacks RadImageNet_val\.csv"):
        read(tmp_path / "x")


def test_metadata_only_needs_no_image(tree, tmp_path):
    for split in ("train", "val", "test"):
        shutil.copy(tree("radimagenet") / f"RadImageNet_{split}.csv", tmp_path)
    records = images(tmp_path, metadata_only=True)
    assert len(records) == 270
    assert {item.path for item in records.values()} == {None}
    assert images(tmp_path, root=tree("radimagenet")).keys() == images(tree("radimagenet")).keys()
