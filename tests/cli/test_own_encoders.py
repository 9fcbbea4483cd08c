"""A user's own encoder, a tiny model in an open_clip folder, through every command: listed, encoded, asked in words.

Its weights are random: the order that it finds means nothing but must be the exact one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pytest
import tiny_clip

import medcbir
from medcbir.encoders import get_spec, load_text_encoder
from medcbir.errors import EncoderError, InputError

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of encoders with `tiny.toml`."""
    folder = tmp_path_factory.mktemp("encoders")
    tiny_clip.write(folder / "published")
    (folder / "tiny.toml").write_text(
        'architecture = "local-dir:published"\ntitle = "Tiny"\nlicence = "CC0"\nseen = ["covid"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def encoded(clone: Callable[..., str], filled: str, own: Path, run_medcbir: Run) -> str:
    """The database `filled` with vectors of `tiny` as well."""
    url = clone(filled)
    done = run_medcbir("encode", "--encoder", "tiny", "--database-url", url, MEDCBIR_ENCODERS_DIR=own)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture(scope="module")
def catalogue(encoded: str) -> list[dict[str, Any]]:
    with psycopg.connect(encoded, options="-c search_path=medcbir,public") as connection:
        connection.row_factory = psycopg.rows.dict_row
        rows = connection.execute("SELECT image_id, uri, tiny::real[] AS v FROM image_vectors ORDER BY image_id")
        return [dict(row) for row in rows]  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def words(own: Path) -> dict[str, np.ndarray]:
    texts = ["pleural effusion", "normal chest"]
    vectors = load_text_encoder(get_spec("tiny", own), weights_dir=own, device="cpu").encode(texts)
    return dict(zip(texts, vectors.astype(np.float64), strict=True))


def test_it_is_listed_with_its_images_beside_medcbirs_own(encoded: str, own: Path, run_medcbir: Run) -> None:
    done = run_medcbir("encoders", "list", "--format", "json", "--database-url", encoded, MEDCBIR_ENCODERS_DIR=own)
    assert done.returncode == 0, done.stderr
    listed = {each["name"]: each for each in json.loads(done.stdout)}
    assert {name: each["images"] for name, each in listed.items() if each["images"]} == {
        "efficientnet_lite0": 19,
        "tiny": 19,
    }
    assert listed["vit"]["images"] == 0
    assert (listed["tiny"]["dim"], listed["tiny"]["licence"], listed["tiny"]["found"]) == (32, "CC0", True)
    assert listed["tiny"]["text"]["length"] == 16
    without = run_medcbir("encoders", "list", "--format", "json", "--database-url", encoded)
    (left,) = (each for each in json.loads(without.stdout) if each["name"] == "tiny")
    assert (left["title"], left["dim"], left["images"], left["found"]) == ("another recipe", 32, 19, None)


def test_listing_makes_no_database(own: Path, tmp_path: Path, run_medcbir: Run) -> None:
    done = run_medcbir("encoders", "list", "--data-dir", tmp_path / "data", MEDCBIR_ENCODERS_DIR=own, COLUMNS=200)
    assert done.returncode == 0, done.stderr
    (row,) = (line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["tiny"])
    assert row == ["tiny", "Tiny", "32", "medical", "CC0", "yes", "found"]
    assert not (tmp_path / "data").exists()


def nearest(catalogue: list[dict[str, Any]], whole: np.ndarray) -> list[int]:
    whole = whole / np.linalg.norm(whole)
    return [
        row["image_id"] for row in sorted(catalogue, key=lambda row: -float(np.array(row["v"], np.float64) @ whole))
    ]


def test_words_and_images_go_together_with_weights_in_the_order_given(
    encoded: str, own: Path, run_medcbir: Run, catalogue: list[dict[str, Any]], words: dict[str, np.ndarray]
) -> None:
    first, second = catalogue[2], catalogue[7]
    effusion, normal = words["pleural effusion"], words["normal chest"]
    images = [np.array(row["v"], np.float64) for row in (first, second)]

    def found(*arguments: object) -> dict[str, Any]:
        done = run_medcbir(
            *("search", *arguments, "--encoder", "tiny", "-n", 19, "--format", "json", "--database-url", encoded),
            MEDCBIR_ENCODERS_DIR=own,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    alone = found("--text", "pleural effusion")
    assert alone["query"] == {"text": "pleural effusion"}
    assert [hit["image_id"] for hit in alone["hits"]] == nearest(catalogue, effusion)
    mixed = found(
        *("--text", "pleural effusion", "--image", first["uri"], "--text", "normal chest", "--image", second["uri"]),
        *("--weight", 3, "--weight", 0.5, "--weight", -2, "--weight", 1),
    )
    whole = 3 * effusion + 0.5 * images[0] - 2 * normal + images[1]
    assert [hit["image_id"] for hit in mixed["hits"]] == nearest(catalogue, whole)
    assert mixed["query"] == {
        "image": [first["uri"], second["uri"]],
        "text": ["pleural effusion", "normal chest"],
        "weights": [0.5, 1.0, 3.0, -2.0],
    }
    unweighted = found("--image", first["uri"], "--text", "pleural effusion")
    assert [hit["image_id"] for hit in unweighted["hits"]] == nearest(catalogue, images[0] + effusion)


def test_python_takes_the_same_query(
    encoded: str, own: Path, monkeypatch: pytest.MonkeyPatch, catalogue: list[dict[str, Any]], words: dict[str, Any]
) -> None:
    monkeypatch.setenv("MEDCBIR_ENCODERS_DIR", str(own))
    image = catalogue[2]
    whole = np.array(image["v"], np.float64) + 2 * words["normal chest"]
    with medcbir.connect(encoded) as db:
        hits = db.search(image=image["uri"], text="normal chest", weights=[1, 2], encoder="tiny", n=5)
        assert [hit.image_id for hit in hits] == nearest(catalogue, whole)[:5]
        for query, error in (
            ({"text": "lung", "image_id": 1}, "one of image files or texts"),
            ({"text": []}, "the list of them is empty"),
            ({"text": "lung", "weights": [1, 2]}, "there are 1 parts of the query and 2 weights"),
            ({"text": "lung", "exclude_duplicates": True}, "give one image alone"),
            ({"text": " "}, "needs words"),
        ):
            with pytest.raises(InputError, match=error):
                db.search(**query, encoder="tiny")
        with pytest.raises(EncoderError, match=r"EfficientNet-Lite0 has no text tower, .* encoders that can: clip"):
            db.search(text="lung")


def test_a_weight_too_few_or_an_encoder_without_words_is_one_line(encoded: str, own: Path, run_medcbir: Run) -> None:
    few = run_medcbir(
        *("search", "--text", "lung", "--text", "heart", "--weight", 2, "--encoder", "tiny", "--database-url", encoded)
    )
    assert few.returncode == 2
    assert "2 of --image and --text, but 1 of --weight" in few.stderr
    wordless = run_medcbir("search", "--text", "lung", "--database-url", encoded)
    assert wordless.returncode == 1
    assert wordless.stderr.startswith("Error: EfficientNet-Lite0 has no text tower")


def test_a_dimension_that_is_wrong_leaves_no_encoder_behind(filled: str, own: Path, run_medcbir: Run) -> None:
    (own / "wrong.toml").write_text(
        f"""
        architecture = "test_vit"
        dim = 31
        checkpoint = "{own}/published/open_clip_pytorch_model.bin"
        keys = "open_clip_timm"
        output = {{inputs = 64, outputs = 31}}
        pixels = {{size = 160, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5]}}
        """
    )
    done = run_medcbir("encode", "--encoder", "wrong", "--database-url", filled, MEDCBIR_ENCODERS_DIR=own)
    (own / "wrong.toml").unlink()
    assert done.returncode == 1
    assert "1 of another shape" in done.stderr
    with psycopg.connect(filled) as connection:
        assert connection.execute("SELECT count(*) FROM medcbir.encoder WHERE name = 'wrong'").fetchone() == (0,)


def test_its_weights_and_its_words_are_verified(own: Path, run_medcbir: Run) -> None:
    done = run_medcbir("encoders", "verify", "tiny", "--format", "json", MEDCBIR_ENCODERS_DIR=own)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["state"], found["words"], found["golden"]) == ("ok", "ok", None)


def test_a_report_has_its_licence_and_what_it_has_seen(
    encoded: str, own: Path, tmp_path: Path, run_medcbir: Run
) -> None:
    for command in (
        ("retrieve", "--encoder", "tiny", "-n", 5, "--name", "tiny"),
        ("report", "tiny", "--out", tmp_path / "out"),
    ):
        done = run_medcbir(*command, "--database-url", encoded, MEDCBIR_ENCODERS_DIR=own)
        assert done.returncode == 0, done.stderr
    [row] = json.loads((tmp_path / "out" / "tables" / "encoders.json").read_text())["rows"]
    assert (row["encoder"], row["licence"], row["seen"], row["dim"]) == ("Tiny", "CC0", "COVID-19", 32)
    assert "Tiny" in (tmp_path / "out" / "report.html").read_text()
