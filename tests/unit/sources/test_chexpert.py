import csv
import hashlib
import shutil

import pytest

from medcbir.errors import InputError
from medcbir.labels import parse_label
from medcbir.sources import Options, find_source
from medcbir.types import ImageRecord, Rejection


def read(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def images(path, **options):
    return {item.uri: item for item in read(path, **options) if isinstance(item, ImageRecord)}


def rows(root, name):
    with (root / name).open(newline="") as stream:
        found = [row for row in csv.DictReader(stream) if row["Fracture"] is not None and row["Edema"] != "2.0"]
    return {row["Path"]: row for row in found if row["Path"].count("/") == 4 and ".." not in row["Path"]}


def expected(root):
    """The records of the tree, worked out the slow way."""
    train, valid = rows(root, "train.csv"), rows(root, "valid.csv")
    patients = {path.split("/")[2] for path in train}
    ranked = sorted(patients, key=lambda patient: hashlib.sha256(b"42:" + patient.encode()).hexdigest())
    validation = ranked[: round(len(ranked) / 10)]
    records = {}
    for path, row in (train | valid).items():
        file = root / path.removeprefix("CheXpert-v1.0-small/")
        if not file.exists():
            continue
        findings = {name: cell for name, cell in list(row.items())[5:] if name != "Support Devices"}
        labels = [f"XR/chest/{name}" for name, cell in findings.items() if cell and float(cell) == 1]
        uncertain = [name for name, cell in findings.items() if cell and float(cell) == -1]
        said = {"uncertain": uncertain} if uncertain else {}
        if uncertain and len(labels) == 1:
            said["findings"] = labels
            labels = []
        said["view"] = row["AP/PA"] or row["Frontal/Lateral"].upper()
        patient, study = path.split("/")[2:4]
        records[path] = ImageRecord(
            uri=path,
            dataset="chexpert",
            path=file,
            patient=patient,
            study_uid=f"{patient}/{study}",
            modality="XR",
            region="chest",
            split="test" if path in valid else "val" if patient in validation else "train",
            labels=tuple(map(parse_label, labels)),
            attributes=said,
        )
    return records


def test_the_tree_gives_exactly_the_expected_records(tree):
    assert images(tree("chexpert")) == expected(tree("chexpert"))
    assert len(images(tree("chexpert"))) == 251


def test_single_label_rows_are_those_of_the_published_code(tree):
    """Without Support Devices, the row's sum is 1, and so is the number of its positive findings."""
    root = tree("chexpert")
    counted = set()
    for path, row in rows(root, "train.csv").items():
        values = [float(cell or 0) for name, cell in list(row.items())[5:] if name != "Support Devices"]
        if sum(values) == 1 and values.count(1) == 1:
            counted.add(path)
    single = {uri for uri, item in images(root).items() if len(item.labels) == 1 and item.split != "test"}
    assert single == counted & images(root).keys()
    assert 80 < len(single) < 100


@pytest.mark.parametrize(
    ("marks", "labels", "attributes"),
    [
        ("Edema=1.0", ["Edema"], {}),
        ("Edema=1", ["Edema"], {}),
        ("Edema=1.0 Support Devices=-1.0", ["Edema"], {}),
        ("Support Devices=1.0", [], {}),
        ("Edema=1.0 Fracture=-1.0", [], {"uncertain": ["Fracture"], "findings": ["XR/chest/Edema"]}),
        ("Edema=1.0 Fracture=1.0", ["Edema", "Fracture"], {}),
        ("Edema=1.0 Pneumonia=-1.0 Fracture=1.0", ["Edema", "Fracture"], {"uncertain": ["Pneumonia"]}),
        ("Edema=-1.0", [], {"uncertain": ["Edema"]}),
        ("Edema=0.0", [], {}),
        ("Edema=1.0 Gout=1.0", [], {"unknown": ["Gout"], "findings": ["XR/chest/Edema"]}),
        ("Edema=1.0 Gout=-1.0", [], {"uncertain": ["Gout"], "findings": ["XR/chest/Edema"]}),
        ("Edema=1.0 Gout=0.0", ["Edema"], {}),
    ],
)
def test_marks_become_labels(tmp_path, marks, labels, attributes):
    cells = dict(mark.split("=") for mark in marks.replace(" D", "_D").split())
    cells = {name.replace("_", " "): cell for name, cell in cells.items()}
    names = ["Edema", "Pneumonia", "Fracture", "Support Devices", "Gout"]
    for table in ("train", "valid"):
        (tmp_path / f"{table}.csv").write_text(
            f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(names)}\n"
            f"C/{table}/patient1/study1/v.jpg,Male,1,Frontal,,{','.join(cells.get(name, '') for name in names)}\n"
        )
    for record in images(tmp_path, metadata_only=True).values():
        assert [label.finding for label in record.labels] == labels
        assert record.attributes == attributes


def test_what_does_not_fit_is_told(tree):
    assert [(item.uri, item.reason) for item in read(tree("chexpert")) if isinstance(item, Rejection)] == [
        (
            "CheXpert-v1.0-small/train/patient00007/study3/view1_frontal.jpg",
            "listed more than once; the first row counts",
        ),
        ("train.csv:243", "line 243: column Edema: '2.0' is none of 1, 0, -1 and empty"),
        ("train.csv:244", "line 244: column Path: is not dataset/split/patient/study/image"),
        ("train.csv:245", "line 245: column Path: is not dataset/split/patient/study/image"),
        ("train.csv:246", "line 246: 2 cells where the header has 19"),
        ("README.txt", "its name is not that of an image (.png, .jpg, .jpeg)"),
        ("train/patient00009/study1/view2_frontal.jpg", "no manifest lists this image"),
        (
            "CheXpert-v1.0-small/train/patient00009/study1/view1_frontal.jpg",
            "a manifest lists this image, and its file is missing",
        ),
    ]


def test_validation_patients_are_a_tenth_and_their_own(tree):
    splits: dict[str, set[str]] = {}
    for item in images(tree("chexpert")).values():
        splits.setdefault(str(item.patient), set()).add(str(item.split))
    assert {len(found) for found in splits.values()} == {1}
    assert sum(found == {"val"} for found in splits.values()) == 8


def test_a_renamed_folder_is_read_alike(tree, tmp_path):
    shutil.copytree(tree("chexpert"), tmp_path / "x")
    assert images(tmp_path / "x").keys() == images(tree("chexpert")).keys()


def test_a_missing_test_set_is_named(tree, tmp_path):
    shutil.copy(tree("chexpert") / "train.csv", tmp_path)
    with pytest.raises(InputError, match=r"no CheXpert folder: it has no valid\.csv"):
        read(tmp_path)
