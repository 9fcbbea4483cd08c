import json
from dataclasses import asdict

import pytest

import medcbir
from medcbir.ingest.survey import survey
from medcbir.labels import parse_label
from medcbir.types import ImageRecord, Rejection


def image(uri, *labels, dataset="mimic", split="train", **attributes):
    return ImageRecord(uri, dataset, split=split, labels=tuple(map(parse_label, labels)), attributes=attributes)


def test_single_label_images_are_counted_beside_the_published_numbers():
    found = survey(
        [
            image("1", "XR/chest/Edema"),
            image("2", "XR/chest/Edema"),
            image("3", "XR/chest/No Finding", split="test"),
            image("4", "XR/chest/Mass", split=None),
        ],
        "mimic",
    )
    assert [(each.split, each.images, each.published, each.difference) for each in found.counts] == [
        ("train", 2, 229_597, -229_595),
        ("val", 0, 1_775, -1_775),
        ("test", 1, 2_473, -2_472),
        (None, 1, None, None),
    ]
    [classes] = found.classes
    assert (classes.pathology, classes.anatomy) == (2, 1)
    assert (classes.published_pathology, classes.published_anatomy) == (12, 1)
    assert found.regions == ("chest",)


def test_what_is_left_out_is_told_by_reason():
    found = survey(
        [
            image("1", "XR/chest/Edema", "XR/chest/Mass"),
            image("2"),
            image("3", unknown=["Gout"]),
            image("4", unknown=["Gout", "Rickets"], findings=["XR/chest/Mass"]),
            image("5", uncertain=["Mass"], findings=["XR/chest/Edema"]),
            image("6", uncertain=["Mass"]),
            image("7", "XR/chest/Edema", listed=2, listed_in=["train"]),
            image("8", "XR/chest/Edema", listed=2, listed_in=["test", "train"]),
            image("8", "XR/chest/Mass"),
            Rejection("m.csv:7", "mimic", "line 7: 1 cells where the header has 2", "invalid"),
            Rejection("m.csv:9", "mimic", "line 9: 1 cells where the header has 2", "invalid"),
        ],
        "mimic",
    )
    assert found.images == 8
    assert {(each.reason, each.catalogued): (each.count, each.examples) for each in found.exclusions} == {
        ("several labels", True): (1, ("1",)),
        ("no label", True): (2, ("2", "6")),
        ("an unknown label", True): (2, ("3", "4")),
        ("an uncertain finding beside its only one", True): (1, ("5",)),
        ("listed more than once; the first row counts", False): (1, ("8",)),
        ("1 cells where the header has 2", False): (2, ("m.csv:7", "m.csv:9")),
    }
    assert found.unknown_labels == {"Gout": 2, "Rickets": 1}
    assert (found.repeated, found.across_splits) == (2, 1)


def test_published_numbers_are_found_by_the_names_that_published_tables_use():
    for name in ("CheXpert", "radiology_ai", "nih14"):
        counts = survey([image("1", "XR/chest/Edema", dataset=name)], "published").counts
        assert any(each.published for each in counts)
    mine = survey([image("1", "XR/chest/Edema", dataset="mine")], "csv").counts
    assert not any(each.published for each in mine)
    assert sum(each.images for each in mine) == 1
    renamed = survey([image("1", "XR/chest/Edema", dataset="mine")], "nih14").counts
    assert renamed[0].published == 66_192


def test_the_published_numbers_add_up_to_the_totals_of_the_paper():
    names = ("radimagenet", "nih14", "mimic", "chexpert")
    found = [survey([], name) for name in names]
    for split, total in (("train", 1_322_552), ("val", 115_538), ("test", 171_753)):
        assert sum(each.published for one in found for each in one.counts if each.split == split) == total
    classes = {(each.dataset, each.modality): each for one in found for each in one.classes}
    radimagenet = [each for (dataset, _), each in classes.items() if dataset == "radimagenet"]
    shared_by_chest_datasets = 19  # of 14 in ChestX-ray14 and 12 in CheXpert and MIMIC-CXR, seven are the same
    assert sum(each.published_pathology for each in radimagenet) + shared_by_chest_datasets == 161
    assert sum(each.published_anatomy for each in radimagenet) + 1 == 24


def test_a_users_columns_of_the_same_names_are_no_lists():
    found = survey([image("1", unknown="yes", uncertain="no", findings="x", listed_in="a,b")], "csv")
    assert found.unknown_labels == {}
    assert found.repeated == 0
    assert [each.reason for each in found.exclusions] == ["no label"]


@pytest.mark.parametrize("name", ["radimagenet", "nih14", "mimic", "chexpert", "covid"])
def test_a_survey_needs_no_database_and_opens_no_image(tree, tmp_path, name):
    with medcbir.connect("postgresql://nobody@127.0.0.1:1/none", data_dir=tmp_path) as db:
        found = db.survey(tree(name))
    assert found.source == name
    assert found.images > 200
    told = sum(each.images for each in found.counts) + sum(each.count for each in found.exclusions if each.catalogued)
    assert told == found.images
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_the_survey_and_starts_nothing(tree, tmp_path, run_medcbir):
    data = tmp_path / "data"
    shown = run_medcbir("ingest", tree("chexpert"), "--dry-run", MEDCBIR_DATA_DIR=data)
    assert shown.returncode == 0, shown.stderr
    assert "251 images recognised as chexpert" in shown.stdout
    for told in ("50194", "an uncertain finding beside its only one", "several labels", "regions (1): chest"):
        assert told in shown.stdout
    assert "duplicates: 1 images are listed more than once, 0 of them in several splits" in shown.stdout
    several = run_medcbir("ingest", tree("radimagenet"), "--dry-run", MEDCBIR_DATA_DIR=data).stdout
    assert "duplicates: 4 images are listed more than once, 1 of them in several splits" in several
    printed = run_medcbir("ingest", tree("chexpert"), "--dry-run", "--format", "json", MEDCBIR_DATA_DIR=data)
    with medcbir.connect(data_dir=tmp_path / "other") as db:
        assert json.loads(printed.stdout) == json.loads(json.dumps(asdict(db.survey(tree("chexpert")))))
    assert not data.exists()
