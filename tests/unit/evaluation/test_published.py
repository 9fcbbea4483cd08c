"""The published values: complete, in range, under names that the registry knows, and as the paper prints them."""

import csv
from collections import Counter
from importlib.resources import files

import pytest

from medcbir.encoders import SPECS
from medcbir.evaluation.published import Beside, beside_published, count_beside_published

VALUES = list(
    csv.DictReader(files("medcbir.evaluation").joinpath("published.csv").read_text(encoding="utf-8").splitlines())
)
KEY = ("table", "model", "method", "metric", "n", "average")


def test_tables_are_whole_with_eight_values_of_each_model() -> None:
    of_models = Counter((row["table"], row["model"]) for row in VALUES)
    assert set(of_models.values()) == {8}
    assert Counter(table for table, _ in of_models) == {"2": 10, "3": 3, "4": 9}
    assert len({tuple(row[column] for column in KEY) for row in VALUES}) == len(VALUES) == 176


def test_values_are_shares_with_three_decimals() -> None:
    assert all(len(row["value"]) == 5 and 0 < float(row["value"]) < 1 for row in VALUES)


def test_encoders_are_those_of_the_registry_where_it_has_them() -> None:
    assert {row["encoder"] for row in VALUES} - {""} <= SPECS.keys()
    assert {row["model"] for row in VALUES if not row["encoder"]} == {"DenseNet"}


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        (("2", "ResNet", "retrieval", "precision", "1", "micro"), "0.544"),
        (("2", "X-MIR", "retrieval", "precision", "10", "macro"), "0.131"),
        (("2", "MedCLIP", "retrieval", "precision", "1", "macro"), "0.223"),
        (("3", "BiomedCLIP", "retrieval", "precision", "5", "micro"), "0.910"),
        (("3", "DenseNet", "retrieval", "precision", "5", "macro"), "0.830"),
        (("4", "CLIP", "linear", "f1", "", "macro"), "0.278"),
        (("4", "MAE", "knn", "auprc", "", "macro"), "0.203"),
        (("4", "SAM", "knn", "f1", "", "micro"), "0.599"),
    ],
)
def test_single_values_are_those_printed(key: tuple[str, ...], printed: str) -> None:
    assert [row["value"] for row in VALUES if tuple(row[column] for column in KEY) == key] == [printed]


def test_the_best_of_each_column_is_the_model_that_the_paper_prints_bold() -> None:
    best = {}
    for row in VALUES:
        column = (row["table"], row["method"], row["metric"], row["n"], row["average"])
        best[column] = max(best.get(column, ("", "")), (row["value"], row["model"]))
    assert {(table, method): model for (table, method, *_), (_, model) in best.items()} == {
        ("2", "retrieval"): "BiomedCLIP",
        ("3", "retrieval"): "X-MIR",
        ("4", "knn"): "BiomedCLIP",
        ("4", "linear"): "CLIP",
    }


def test_a_number_stands_beside_its_published_value_with_what_it_is_above_it() -> None:
    key = ("2", "biomedclip", "retrieval", "precision", 1, "micro")
    assert beside_published(0.6, key) == Beside(0.594, pytest.approx(0.006))
    assert beside_published(None, key) == Beside(0.594, None)
    assert beside_published(0.6, ("2", "somebody's own", *key[2:])) == Beside()
    assert count_beside_published(460_000, "radimagenet", "MR", "train") == Beside(460_479, -479)
    assert count_beside_published(460_000, "radimagenet", "MR", None) == Beside()
    assert count_beside_published(460_000, "ours", "MR", "train") == Beside()
