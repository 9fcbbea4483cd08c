import csv
import gzip
import shutil

import pytest

from medcbir.errors import InputError
from medcbir.labels import parse_label
from medcbir.sources import Options, find_source
from medcbir.types import ImageRecord, Rejection

SPLIT, FINDINGS, METADATA = (f"mimic-cxr-2.0.0-{name}.csv" for name in ("split", "chexpert", "metadata"))


def read(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def images(path, **options):
    return {item.uri: item for item in read(path, **options) if isinstance(item, ImageRecord)}


def expected(root):
    """The records of the tree, worked out the slow way from what is on disk."""
    with gzip.open(root / f"{SPLIT}.gz", "rt", newline="") as stream:
        splits = {row["dicom_id"]: row for row in csv.DictReader(stream)}
    with gzip.open(root / f"{FINDINGS}.gz", "rt", newline="") as stream:
        studies = {}
        for row in csv.DictReader(stream):
            studies.setdefault(row["study_id"], row)
    with (root / METADATA).open(newline="") as stream:
        views = {row["dicom_id"]: row["ViewPosition"] for row in csv.DictReader(stream)}
    records = {}
    for file in sorted((root / "files").rglob("*.jpg")):
        row = splits.get(file.stem)
        if row is None:
            continue
        marks = dict(list(studies.get(row["study_id"], {}).items())[2:])
        marks.pop("Support Devices", None)
        uncertain = [name for name, mark in marks.items() if mark == "-1.0"]
        said = {"uncertain": uncertain} if uncertain else {}
        said |= {"view": views[file.stem]} if views[file.stem] else {}
        uri = f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}/{file.name}"
        assert file == root / uri
        records[uri] = ImageRecord(
            uri=uri,
            dataset="mimic",
            path=file,
            patient=row["subject_id"],
            study_uid=f"s{row['study_id']}",
            modality="XR",
            region="chest",
            split={"validate": "val"}.get(row["split"], row["split"]),
            labels=tuple(parse_label(f"XR/chest/{name}") for name, mark in marks.items() if mark == "1.0"),
            attributes=said,
        )
    return records


def test_the_tree_gives_exactly_the_expected_records(tree):
    assert images(tree("mimic")) == expected(tree("mimic"))
    assert len(images(tree("mimic"))) == 209


def test_all_images_of_a_study_carry_its_findings(tree):
    studies: dict[str, set[tuple[str, ...]]] = {}
    for item in images(tree("mimic")).values():
        studies.setdefault(str(item.study_uid), set()).add(tuple(label.name for label in item.labels))
    assert {len(found) for found in studies.values()} == {1}
    assert {len(found) for [found] in studies.values()} == {0, 1, 2}


def test_a_study_without_labels_is_told_and_its_images_are_kept(tree):
    [told] = [item for item in read(tree("mimic")) if isinstance(item, Rejection) and "no row in" in item.reason]
    kept = [item for uri, item in images(tree("mimic")).items() if uri.startswith(told.uri)]
    assert told.uri == "files/p10/p10570035/s50003001"
    assert len(kept) == 3
    assert {item.labels for item in kept} == {()}


def test_what_does_not_fit_is_told(tree):
    told = [(item.uri, item.reason, item.kind) for item in read(tree("mimic")) if isinstance(item, Rejection)]
    assert [(uri, kind) for uri, _, kind in told] == [
        ("files/p10/p10000032/s50000000", "invalid"),
        ("mimic-cxr-2.0.0-chexpert.csv.gz:123", "invalid"),
        ("mimic-cxr-2.0.0-chexpert.csv.gz:124", "invalid"),
        ("files/p10/p10000032/s50000001/b1cf5056-2259aca3-e7ffc7a3-67749cd5-50cbdedf.jpg", "invalid"),
        ("mimic-cxr-2.0.0-split.csv.gz:213", "invalid"),
        ("mimic-cxr-2.0.0-split.csv.gz:214", "invalid"),
        ("mimic-cxr-2.0.0-split.csv.gz:215", "invalid"),
        ("files/p10/p10570035/s50003001", "invalid"),
        ("files/p19/p19999999/s59999999", "invalid"),
        ("LICENSE.txt", "not_an_image"),
        ("files/p10/index.html", "not_an_image"),
        ("files/p12/p12090043/s50011001/00000000-00000000-00000000-00000000-00000000.jpg", "invalid"),
        ("mimic-cxr-2.0.0-negbio.csv.gz", "not_an_image"),
        ("files/p12/p12090043/s50011001/f28c438a-c6eeeec4-9f748adc-3737bbdf-ce110d2e.jpg", "unreadable"),
    ]
    reasons = [reason.partition(": ")[2] or reason for _, reason, _ in told]
    assert reasons[1:3] == [
        "column Atelectasis: 'yes' is none of 1, 0, -1 and empty",
        "column subject_id: 'p1' is not a number",
    ]
    assert reasons[4:7] == [
        "column split: unknown split 'holdout'; known are train, val, test",
        "column dicom_id: '../../secret' is no file's name",
        "column dicom_id: '' is no file's name",
    ]
    assert reasons[8] == "the CheXpert table has a row for this study, and the split table has no image of it"


def test_tables_may_be_plain_or_compressed_and_metadata_absent(tree, tmp_path):
    root = tree("mimic")
    for name in (SPLIT, FINDINGS):
        with gzip.open(root / f"{name}.gz", "rb") as compressed, (tmp_path / name).open("wb") as plain:
            shutil.copyfileobj(compressed, plain)
    plain_images = images(tmp_path, root=root)
    assert plain_images.keys() == images(root).keys()
    assert not any("view" in item.attributes for item in plain_images.values())


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\x1f\x8b\x08\0", "damaged"), (b"no", "cannot")])
def test_a_damaged_table_is_named(tree, tmp_path, content, reason):
    shutil.copy(tree("mimic") / f"{SPLIT}.gz", tmp_path)
    (tmp_path / f"{FINDINGS}.gz").write_bytes(content)
    with pytest.raises(InputError, match=rf"chexpert\.csv\.gz .*{reason}"):
        read(tmp_path)


def test_a_table_cut_short_is_named(tree, tmp_path):
    shutil.copy(tree("mimic") / f"{FINDINGS}.gz", tmp_path)
    (tmp_path / f"{SPLIT}.gz").write_bytes((tree("mimic") / f"{SPLIT}.gz").read_bytes()[:-200])
    with pytest.raises(InputError, match=r"split\.csv\.gz is damaged: download it again"):
        read(tmp_path)


def test_missing_labels_are_named(tree, tmp_path):
    shutil.copy(tree("mimic") / f"{SPLIT}.gz", tmp_path)
    with pytest.raises(InputError, match=r"no MIMIC-CXR-JPG folder: it has no mimic-cxr-2\.0\.0-chexpert\.csv or"):
        read(tmp_path)
