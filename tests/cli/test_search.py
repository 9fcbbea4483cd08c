"""medcbir search: three kinds of query, filters, and the shapes that programs read."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pytest

import medcbir

KEYS = {
    *("rank", "image_id", "uri", "distance", "similarity", "dataset", "patient", "modality", "region", "findings"),
    "split",
}

Search = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def search(filled: str, run_medcbir: Callable[..., CompletedProcess[str]]) -> Search:
    def run(*arguments: object) -> dict[str, Any]:
        done = run_medcbir("search", *arguments, "--format", "json", "--database-url", filled)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture(scope="module")
def catalogue(filled: str) -> list[dict[str, Any]]:
    """Every image with its metadata and vector."""
    with psycopg.connect(filled, options="-c search_path=medcbir,public") as connection:
        connection.row_factory = psycopg.rows.dict_row
        rows = connection.execute("SELECT *, efficientnet_lite0::real[] AS v FROM image_vectors ORDER BY image_id")
        return [dict(row) for row in rows]  # type: ignore[call-overload]


def nearest(
    catalogue: list[dict[str, Any]], query: dict[str, Any], keep: Callable[[dict[str, Any]], bool]
) -> list[int]:
    """Ids of all other images that are kept, nearest first, by numpy in float64."""
    vector = np.array(query["v"], dtype=np.float64)
    others = [row for row in catalogue if row["image_id"] != query["image_id"] and keep(row)]
    return [row["image_id"] for row in sorted(others, key=lambda row: 1 - float(np.array(row["v"]) @ vector))]


def test_a_catalogued_image_finds_the_others_in_exact_order(search: Search, catalogue: list[dict[str, Any]]) -> None:
    query = catalogue[4]
    found = search("--id", query["image_id"], "-n", 30)
    assert found["query"] == {"id": query["image_id"]}
    assert found["encoder"] == "efficientnet_lite0"
    hits = found["hits"]
    assert [hit["image_id"] for hit in hits] == nearest(catalogue, query, lambda _: True)
    assert [hit["rank"] for hit in hits] == list(range(1, 19))
    by_id = {row["image_id"]: row for row in catalogue}
    for hit in hits:
        assert hit.keys() >= KEYS
        row = by_id[hit["image_id"]]
        for name in ("uri", "dataset", "patient", "modality", "region", "findings", "split"):
            assert hit[name] == row[name]
        assert hit["similarity"] == pytest.approx(float(np.dot(row["v"], query["v"])), abs=1e-5)
        assert hit["similarity"] == pytest.approx(1 - hit["distance"], abs=1e-12)


def test_n_bounds_the_hits(search: Search, catalogue: list[dict[str, Any]]) -> None:
    query = catalogue[0]
    found = search("--id", query["image_id"], "-n", 3)
    assert [hit["image_id"] for hit in found["hits"]] == nearest(catalogue, query, lambda _: True)[:3]


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        (("--modality", "CT"), lambda row: row["modality"] == "CT"),
        (("--region", "brain"), lambda row: row["region"] == "brain"),
        (("--split", "test"), lambda row: row["split"] == "test"),
        (
            ("--dataset", "made", "--modality", "MR", "--split", "train"),
            lambda row: row["modality"] == "MR" and row["split"] == "train",
        ),
        (("--dataset", "another"), lambda _: False),
    ],
)
def test_filters_choose_who_takes_part(
    search: Search, catalogue: list[dict[str, Any]], options: tuple[str, ...], keep: Callable[[dict[str, Any]], bool]
) -> None:
    query = next(row for row in catalogue if row["split"] == "test" and row["modality"] == "CT")
    found = search("--id", query["image_id"], "-n", 30, *options)
    assert [hit["image_id"] for hit in found["hits"]] == nearest(catalogue, query, keep)


def test_images_of_the_same_patient_are_left_out_on_demand(search: Search, catalogue: list[dict[str, Any]]) -> None:
    query = next(row for row in catalogue if row["patient"] == "p4")
    assert sum(row["patient"] == "p4" for row in catalogue) == 3
    found = search("--id", query["image_id"], "-n", 30, "--exclude-same-patient")
    assert [hit["image_id"] for hit in found["hits"]] == nearest(catalogue, query, lambda row: row["patient"] != "p4")
    assert len(found["hits"]) == 16


def test_an_image_file_finds_itself_first(search: Search, images: Path) -> None:
    for file in (next(images.glob("test/CT/*/*/*.png")), images / "train" / "CT_small.dcm"):
        found = search("--image", file, "-n", 2)
        assert found["query"] == {"image": str(file)}
        first, second = found["hits"]
        assert first["uri"] == str(file)
        assert first["similarity"] == pytest.approx(1, abs=1e-5)
        assert second["similarity"] < first["similarity"]


def test_csv_has_a_header_and_a_row_per_hit(
    filled: str, run_medcbir: Callable[..., CompletedProcess[str]], catalogue: list[dict[str, Any]]
) -> None:
    query = catalogue[4]["image_id"]
    done = run_medcbir("search", "--id", query, "-n", 4, "--format", "csv", "--database-url", filled)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [int(row["image_id"]) for row in rows] == nearest(catalogue, catalogue[4], lambda _: True)[:4]
    assert [float(row["similarity"]) for row in rows] == sorted(
        (float(row["similarity"]) for row in rows), reverse=True
    )
    assert {row["findings"] for row in rows} <= {"nodule", "mass_like", "grade_3^4 & 50% #1 {$x}~\\", ""}


def test_the_table_names_every_hit(filled: str, run_medcbir: Callable[..., CompletedProcess[str]]) -> None:
    done = run_medcbir("search", "--id", 1, "-n", 4, "--database-url", filled, COLUMNS=400)
    assert done.returncode == 0, done.stderr
    assert "4 most similar by efficientnet_lite0" in done.stdout
    assert done.stdout.count(".png") + done.stdout.count(".dcm") == 4


def test_the_command_finds_what_python_finds(filled: str, search: Search) -> None:
    with medcbir.connect(filled) as db:
        hits = db.search(image_id=3, n=7)
    assert [hit["image_id"] for hit in search("--id", 3, "-n", 7)["hits"]] == [hit.image_id for hit in hits]


def test_several_images_are_one_query_ranked_by_their_weighted_mean_similarity(
    search: Search, catalogue: list[dict[str, Any]]
) -> None:
    first, second = (row for row in (catalogue[0], catalogue[13]))
    found = search("--image", first["uri"], "--image", second["uri"], "--weight", 2, "--weight", 1, "-n", 30)
    assert found["query"] == {"image": [first["uri"], second["uri"]], "weights": [2.0, 1.0]}
    whole = 2 * np.array(first["v"], np.float64) + np.array(second["v"], np.float64)
    whole /= np.linalg.norm(whole)
    similarity = {row["image_id"]: float(np.array(row["v"]) @ whole) for row in catalogue}
    assert [hit["image_id"] for hit in found["hits"]] == sorted(similarity, key=lambda each: -similarity[each])
    for hit in found["hits"]:
        assert hit["similarity"] == pytest.approx(similarity[hit["image_id"]], abs=1e-5)
