import csv
import hashlib
import shutil

import pytest

from medcbir.errors import InputError
from medcbir.labels import parse_label
from medcbir.sources import Options, find_source
from medcbir.sources._division import validation_patients
from medcbir.types import ImageRecord, Rejection

PINNED = frozenset(("1", "13", "29"))
NAMES = {"Effusion": "Pleural Effusion", "Pleural_Thickening": "Pleural Thickening"}


def read(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def expected(root):
    """The records of the tree, worked out the slow way."""
    train_val = (root / "train_val_list.txt").read_text().split()
    test = (root / "test_list.txt").read_text().split()
    with (root / "Data_Entry_2017.csv").open(newline="") as stream:
        rows = {row["Image Index"]: row for row in csv.DictReader(stream) if row["View Position"]}
    patients = {rows[name]["Patient ID"] for name in train_val if name in rows}
    ranked = sorted(patients, key=lambda patient: hashlib.sha256(b"42:" + patient.encode()).hexdigest())
    validation = ranked[: round(len(ranked) / 10)]
    records = {}
    for file in sorted(root.rglob("*.png")):
        if file.name not in rows or file.name in records:
            continue
        row = rows[file.name]
        findings = list(dict.fromkeys(part.strip() for part in row["Finding Labels"].split("|") if part.strip()))
        labels = [f"XR/chest/{NAMES.get(finding, finding)}" for finding in findings]
        unknown = [finding for finding in findings if finding == "Tuberculosis"]
        said = {"view": row["View Position"]}
        if unknown:
            said |= {"unknown": unknown}
            if len(labels) > 1:
                said |= {"findings": [label for label in labels if "Tuberculosis" not in label]}
            labels = []
        split = "val" if row["Patient ID"] in validation else "train"
        records[file.name] = ImageRecord(
            uri=file.name,
            dataset="nih14",
            path=file,
            patient=row["Patient ID"],
            modality="XR",
            region="chest",
            split="test" if file.name in test else split if file.name in train_val else None,
            labels=tuple(map(parse_label, labels)),
            attributes=said,
        )
    return records


def test_the_tree_gives_exactly_the_expected_records(tree):
    root = tree("nih14")
    records = {item.uri: item for item in read(root) if isinstance(item, ImageRecord)}
    assert records == expected(root)
    assert len(records) == 240


def test_names_are_harmonised_and_unknown_ones_never_guessed(tree):
    records = {item.uri: item for item in read(tree("nih14")) if isinstance(item, ImageRecord)}
    effusion = records["00000007_001.png"]
    assert [label.name for label in effusion.labels] == ["XR/chest/Pleural Effusion"]
    assert effusion.labels[0].kind == "pathology"
    kinds = {label.finding: label.kind for item in records.values() for label in item.labels}
    assert [finding for finding, kind in kinds.items() if kind == "anatomy"] == ["No Finding"]
    assert len(kinds) == 15
    assert records["00000002_002.png"].labels == ()
    assert records["00000002_002.png"].attributes["unknown"] == ["Tuberculosis"]
    assert records["00000002_002.png"].attributes["findings"] == ["XR/chest/Mass"]
    assert [label.name for label in records["00000003_001.png"].labels] == ["XR/chest/Mass"]
    assert records["00000003_002.png"].labels == ()


def test_what_does_not_fit_is_told(tree):
    assert [(item.uri, item.reason, item.kind) for item in read(tree("nih14")) if isinstance(item, Rejection)] == [
        ("00000004_001.png", "listed more than once; the first row counts", "invalid"),
        ("Data_Entry_2017.csv:243", "line 243: 4 cells where the header has 12", "invalid"),
        ("00000084_000.png", "a split list names this image, and no row describes it", "invalid"),
        ("BBox_List_2017.csv", "its name is not that of an image (.png, .jpg, .jpeg)", "not_an_image"),
        ("images_001/._.DS_Store", "its name is not that of an image (.png, .jpg, .jpeg)", "not_an_image"),
        ("images_003/images/00009999_000.png", "no manifest lists this image", "invalid"),
        ("images_012/images/00000001_000.png", "a second file of this name; the first one counts", "invalid"),
        ("00000004_000.png", "a manifest lists this image, and its file is missing", "unreadable"),
        ("00000082_000.png", "a manifest lists this image, and its file is missing", "unreadable"),
    ]


def test_an_image_of_both_lists_is_a_test_image_and_one_of_none_has_no_split(tree):
    records = {item.uri: item for item in read(tree("nih14")) if isinstance(item, ImageRecord)}
    assert "00000061_000.png" in (tree("nih14") / "train_val_list.txt").read_text()
    assert records["00000061_000.png"].split == "test"
    assert records["00000083_000.png"].split is None


def test_no_patient_is_in_two_splits(tree):
    splits: dict[str, set[str]] = {}
    for item in read(tree("nih14")):
        if isinstance(item, ImageRecord) and item.patient:
            splits.setdefault(item.patient, set()).add(str(item.split))
    assert {len(found) for found in splits.values()} == {1}
    assert sum(found == {"val"} for found in splits.values()) == 6


def test_the_tenth_of_the_patients_is_the_same_everywhere():
    """Pinned: a change here moves every user's validation split."""
    patients = [str(number) for number in range(1, 31)]
    assert validation_patients(patients) == PINNED
    assert validation_patients([*reversed(patients), *patients]) == PINNED
    assert validation_patients([]) == frozenset()
    assert [len(validation_patients(map(str, range(count)))) for count in (1, 4, 5, 14, 15, 30_805)] == [
        *(0, 0, 1, 1, 2, 3081)
    ]


def test_the_order_of_rows_changes_nothing(tree, tmp_path):
    root = tree("nih14")
    for name in ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"):
        rows = (root / name).read_text().splitlines()
        head = rows[: name.endswith(".csv")]
        (tmp_path / name).write_text("\n".join([*head, *reversed(rows[len(head) :])]) + "\n")
    before, after = read(root), read(tmp_path, root=root)
    assert [each for each in before if isinstance(each, ImageRecord)] == [
        each for each in after if isinstance(each, ImageRecord)
    ]


def test_the_newest_of_several_tables_counts(tree, tmp_path):
    root = tree("nih14")
    for name in ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"):
        shutil.copy(root / name, tmp_path)
    newer = (root / "Data_Entry_2017.csv").read_text().replace(",Mass,", ",Nodule,").replace("058Y,M", "58,M")
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(newer)
    named = {label.finding for each in read(tmp_path, metadata_only=True)[3:] for label in each.labels}
    assert "Nodule" in named
    assert "Mass" in named  # of several findings
    assert not any(
        [label.finding for label in each.labels] == ["Mass"] and each.uri != "00000003_001.png"
        for each in read(tmp_path, metadata_only=True)[3:]
    )


def test_metadata_only_takes_every_row_and_no_file(tree):
    items = read(tree("nih14"), metadata_only=True, name="chests", split="val")
    records = [item for item in items if isinstance(item, ImageRecord)]
    assert len(records) == 242
    assert {item.path for item in records} == {None}
    assert {(item.dataset, item.split) for item in records} == {("chests", "val")}


def test_a_missing_list_is_named(tree, tmp_path):
    shutil.copy(tree("nih14") / "Data_Entry_2017.csv", tmp_path)
    with pytest.raises(InputError, match=r"no NIH ChestX-ray14 folder: it has no train_val_list\.txt"):
        read(tmp_path)
