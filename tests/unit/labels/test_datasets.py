import pytest

from medcbir.labels import parse_label, publisher_labels

DATASETS = ("radimagenet", "nih14", "mimic", "chexpert", "covid")


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_label_of_the_table_is_the_one_that_its_name_means(dataset):
    for label in publisher_labels(dataset).values():
        assert label is None or label == parse_label(label.name)


def test_each_dataset_has_its_classes():
    kinds = {
        dataset: [label.kind for label in publisher_labels(dataset).values() if label is not None]
        for dataset in DATASETS
    }
    counts = {dataset: (found.count("pathology"), found.count("anatomy")) for dataset, found in kinds.items()}
    assert counts == {
        "radimagenet": (1, 14),
        "nih14": (14, 1),
        "mimic": (12, 1),
        "chexpert": (12, 1),
        "covid": (2, 1),
    }


def test_findings_that_chest_datasets_share_are_one_label():
    names = {dataset: set(publisher_labels(dataset).values()) - {None} for dataset in ("nih14", "mimic", "chexpert")}
    assert names["mimic"] == names["chexpert"]
    assert {label.finding for label in names["mimic"] & names["nih14"] if label} == {
        *("No Finding", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "Pneumonia"),
        "Pneumothorax",
    }
    assert publisher_labels("nih14")["Effusion"] == publisher_labels("mimic")["Pleural Effusion"]
    assert publisher_labels("covid")["normal"] == publisher_labels("nih14")["No Finding"]


def test_what_is_no_finding_is_not_unknown():
    assert publisher_labels("mimic")["Support Devices"] is None
    assert "Gout" not in publisher_labels("mimic")
    assert publisher_labels("imagenet") == {}
