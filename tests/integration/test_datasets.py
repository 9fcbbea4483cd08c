"""The five datasets through the whole ingest: what stands in the database afterwards."""

import shutil
from collections import Counter

import pytest

EXPECTED = {  # images, with exactly one label, with several, per split; rejected, without an image
    "radimagenet": (269, 247, 1, {"train": 187, "val": 27, "test": 55}, 5, 1),
    "nih14": (240, 209, 28, {"train": 161, "val": 18, "test": 60, None: 1}, 7, 2),
    "mimic": (209, 119, 28, {"train": 168, "val": 23, "test": 18}, 11, 3),
    "chexpert": (251, 102, 60, {"train": 215, "val": 24, "test": 12}, 7, 1),
    "covid": (240, 239, 0, {"train": 210, "test": 30}, 6, 1),
}
SINGLE = """
    SELECT l.modality, i.split, count(*) FROM image i JOIN image_label USING (image_id) JOIN label l USING (label_id)
    WHERE (SELECT count(*) FROM image_label x WHERE x.image_id = i.image_id) = 1 GROUP BY 1, 2
"""


@pytest.mark.parametrize("name", EXPECTED)
def test_a_dataset_becomes_exactly_its_rows(db, tree, name):
    images, single, several, splits, rejected, ignored = EXPECTED[name]
    report = db.ingest(tree(name), encode=False)
    assert (report.added, report.updated, report.unchanged) == (images, 0, 0)
    assert (report.rejected, report.ignored) == (rejected, ignored)
    assert (report.duplicates, report.leaks) == ((2, 2) if name == "radimagenet" else (0, 0))
    per_image = "SELECT count(label_id) AS n FROM image LEFT JOIN image_label USING (image_id) GROUP BY image_id"
    labels = Counter(n for (n,) in db.query(per_image))
    assert (labels[1], sum(count for n, count in labels.items() if n > 1)) == (single, several)
    assert dict(db.query("SELECT split, count(*) FROM image GROUP BY split")) == splits
    assert db.query("SELECT count(*) FROM rejected") == [(rejected + ignored,)]

    counted = db.survey(tree(name))
    assert counted.images == images
    assert {(each.modality, each.split, each.images) for each in counted.counts if each.images} == set(db.query(SINGLE))
    assert sum(each.count for each in counted.exclusions if not each.catalogued) == rejected + ignored

    again = db.ingest(tree(name), encode=False)
    assert (again.added, again.updated, again.unchanged) == (0, 0, images)
    assert db.query("SELECT count(*) FROM rejected") == [(rejected + ignored,)]


def test_of_equal_pictures_in_two_splits_the_test_or_validation_image_is_kept(db, tree):
    db.ingest(tree("radimagenet"), encode=False)
    assert {(each.kept_uri, each.kept_split, each.uri, each.split) for each in db.duplicates()} == {
        (
            *("radiology_ai/MR/knee/acl_pathology/knee-acl_pathology000009.png", "val"),
            *("radiology_ai/MR/knee/acl_pathology/knee-acl_pathology000000.png", "train"),
        ),
        (
            *("radiology_ai/US/liver/liver000007.png", "test"),
            *("radiology_ai/US/liver/liver000001.png", "train"),
        ),
    }
    assert db.query("SELECT count(*) FROM image") == [(269,)]


def test_chest_findings_of_three_datasets_are_the_same_labels(db, tree):
    for name in ("nih14", "mimic", "chexpert"):
        db.ingest(tree(name), encode=False, metadata_only=True)
    shared = db.query(
        "SELECT l.finding FROM label l JOIN image_label USING (label_id) JOIN image USING (image_id) "
        "GROUP BY l.finding HAVING count(DISTINCT dataset_id) = 3 ORDER BY 1"
    )
    assert [finding for (finding,) in shared] == [
        *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "No Finding", "Pleural Effusion"),
        *("Pneumonia", "Pneumothorax"),
    ]
    assert db.query("SELECT DISTINCT modality, region FROM label") == [("XR", "chest")]
    assert db.query("SELECT count(*) FROM label") == [(20,)]


def test_a_file_that_arrives_later_is_added_by_the_next_ingest(db, tree, draw, tmp_path):
    root = tmp_path / "CheXpert-v1.0-small"
    shutil.copytree(tree("chexpert"), root)
    first = db.ingest(root, encode=False)
    draw(root / "train/patient00009/study1/view1_frontal.jpg")
    second = db.ingest(root, encode=False)
    assert (second.added, second.unchanged) == (1, first.added)
    assert second.rejected == first.rejected - 1


def test_the_published_splits_win_when_given_with_the_images(db, tree):
    path = tree("published")
    moved = path.parent / "elsewhere" / "nih14.csv"
    moved.parent.mkdir(exist_ok=True)
    moved.write_text(path.read_text())
    report = db.ingest(moved, root=path.parent, encode=False)
    assert (report.added, report.rejected) == (6, 1)
    assert dict(db.query("SELECT split, count(*) FROM image GROUP BY split")) == {"train": 2, "val": 2, "test": 2}
    assert db.query("SELECT count(*) FROM image WHERE pixel_sha256 IS NOT NULL") == [(6,)]


def test_published_tables_with_other_label_columns_meet_in_one_catalogue(db, tmp_path):
    """What a table has no column for is 0 in it, not unknown."""
    leading = "filepath,dataset,split,modality,anatomic_region"
    (tmp_path / "a.csv").write_text(f"{leading},CT/abd/cyst,CT/abd/normal\na/1.png,a,train,CT,abd,1,0\n")
    (tmp_path / "b.csv").write_text(f"{leading},XR/chest/Edema,CT/abd/cyst\nb/1.png,b,test,XR,chest,1,0\n")
    for name in ("a", "b"):
        assert db.ingest(tmp_path / f"{name}.csv", metadata_only=True).added == 1
    labels = "SELECT i.uri, l.name FROM image AS i JOIN image_label USING (image_id) JOIN label AS l USING (label_id)"
    assert sorted(db.query(labels)) == [("a/1.png", "CT/abd/cyst"), ("b/1.png", "XR/chest/Edema")]
