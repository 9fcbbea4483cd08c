"""The demo's images are what their table says, each once, with patients on one side of the split."""

from collections import Counter
from importlib.util import find_spec

import pytest

from medcbir.demo import gather
from medcbir.errors import InputError
from medcbir.labels import canonical_modality, canonical_region
from medcbir.pixels import open_image
from medcbir.sources.dicom import describe
from medcbir.types import ImageRecord


@pytest.fixture(scope="module")
def collection() -> gather.Collection:
    return gather.gather()


def test_each_pattern_finds_a_file(collection: gather.Collection) -> None:
    found = {item.described.pattern for item in collection.items}
    again = {row.pattern for row in gather.describe_files()} - found
    assert again <= {"JPEG2000_UNC.dcm", "examples_jpeg2k.dcm", "emri_small_*.dcm"}, "others only repeat pictures"


def test_no_patient_is_on_both_sides_and_an_average_is_no_query(collection: gather.Collection) -> None:
    sides = {(item.described.patient, item.split) for item in collection.items}
    assert max(Counter(patient for patient, _ in sides).values()) == 1
    assert all(item.split == "train" for item in collection.items if not item.described.person)


def test_every_class_that_is_asked_about_has_another_patient_to_find(collection: gather.Collection) -> None:
    asked = {item.described.label for item in collection.items if item.split == "test"}
    assert len(asked) >= 4
    for label in asked:
        patients = {item.described.patient for item in collection.items if item.described.label == label}
        assert len(patients) >= 2


def test_labels_said_to_come_from_the_header_stand_there(collection: gather.Collection) -> None:
    looked_at = 0
    for path, row in {item.path: item.described for item in collection.items if item.described.label_from}.items():
        header = open_image(path).header
        if header is None:
            continue
        told = describe(header, ImageRecord(path.name, "demo"), frame=0, hash_key=b"")
        assert told.modality == canonical_modality(row.modality)
        if row.label_from == "header":
            looked_at += 1
            assert told.region == canonical_region(row.region), path.name
    assert looked_at >= 8


def test_reencoded_pictures_are_taken_once(collection: gather.Collection) -> None:
    names = [item.path.name for item in collection.items]
    assert collection.repeated > 0
    assert len([name for name in names if name.startswith("RG1_")]) == 2, "the lossless and the lossy picture"
    assert len([name for name in names if name.startswith("gdcm-US-ALOKA")]) == 1


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nilearn" else find_spec(name))
    with pytest.raises(InputError, match=r'nilearn: pip install "medcbir\[demo\]"'):
        gather.gather()
