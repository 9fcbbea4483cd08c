"""A new checkpoint fills another encoder beside the live one; until that is retired, pictures are searched for by both.

The model is timm's smallest ViT with random weights, so the vectors of the two checkpoints are nothing alike.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pytest
import tiny_vit

import medcbir

Run = Callable[..., CompletedProcess[str]]


class Place:
    """A database with vectors of encoder `tiny` and of its new checkpoint, whose old one is kept under another name."""

    def __init__(self, url: str, folder: Path, run: Run) -> None:
        self.url, self.folder, self._run = url, folder, run
        self.live, self.kept = folder / "tiny.safetensors", folder / "before.safetensors"
        tiny_vit.write(folder, 1)
        assert self.run("encode", "--encoder", "tiny").returncode == 0
        self.live.rename(self.kept)
        tiny_vit.write(folder, 2)
        self.newer = json.loads(self.run("encode", "--encoder", "tiny", "--format", "json").stdout)["encoder"]

    def run(self, *arguments: object) -> CompletedProcess[str]:
        environment = {"MEDCBIR_ENCODERS_DIR": self.folder, "MEDCBIR_WEIGHTS_DIR": self.folder}
        return self._run(*arguments, "--database-url", self.url, **environment)

    def vectors(self, encoder: str) -> dict[str, np.ndarray]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(f"SELECT uri, {encoder}::real[] FROM medcbir.image_vectors".encode())
            return {uri: np.array(vector, np.float64) for uri, vector in rows if vector is not None}


@pytest.fixture
def place(clone: Callable[..., str], filled: str, tmp_path: Path, run_medcbir: Run) -> Place:
    return Place(clone(filled), tmp_path, run_medcbir)


def test_a_picture_is_encoded_by_the_checkpoint_that_made_the_vectors_it_is_compared_with(place: Place) -> None:
    assert re.fullmatch("tiny_[0-9a-f]{8}", place.newer)
    orders = {}
    for name in ("tiny", place.newer):
        vectors = place.vectors(name)
        picture = sorted(vectors)[7]
        done = place.run("search", "--image", picture, "--encoder", name, "-n", 19, "--format", "json")
        assert done.returncode == 0, done.stderr
        hits: list[dict[str, Any]] = json.loads(done.stdout)["hits"]
        assert hits[0]["similarity"] == pytest.approx(1, abs=1e-5)
        orders[name] = [hit["uri"] for hit in hits]
        assert orders[name] == sorted(vectors, key=lambda uri: -float(vectors[uri] @ vectors[picture]))
    assert orders["tiny"] != orders[place.newer]


def test_a_checkpoint_that_is_gone_is_named_with_the_next_step(place: Place) -> None:
    picture = next(iter(place.vectors("tiny")))
    place.kept.unlink()
    done = place.run("search", "--image", picture, "--encoder", "tiny")
    assert done.returncode == 1
    assert re.fullmatch(
        rf"Error: the vectors of tiny were made with a checkpoint that is gone \(sha256 [0-9a-f]{{64}}\): put it back "
        rf"into {place.folder}, by any name, or search by --id, or search with --encoder {place.newer}, .*\n",
        done.stderr,
    )
    assert place.run("encoders", "retire", place.newer, "--yes").returncode == 0
    done = place.run("search", "--image", picture, "--encoder", "tiny")
    assert "search by --id, or encode again with `medcbir encode --encoder tiny`" in done.stderr


def test_the_same_checkpoint_under_another_name_is_the_same_encoder(place: Place) -> None:
    (place.folder / "tiny").mkdir()
    place.live.rename(place.folder / "tiny" / "of_last_week.safetensors")
    report = json.loads(place.run("encode", "--encoder", "tiny", "--format", "json").stdout)
    assert (report["encoder"], report["encoded"], report["remaining"]) == (place.newer, 0, 0)


def test_a_checkpoint_that_is_exchanged_while_its_model_is_loaded_is_loaded_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCBIR_ENCODERS_DIR", str(place.folder))
    monkeypatch.setenv("MEDCBIR_WEIGHTS_DIR", str(place.folder))
    picture = next(iter(place.vectors("tiny")))
    with medcbir.connect(place.url) as db:
        for name in ("tiny", place.newer, "tiny"):
            assert db.search(image=picture, encoder=name, n=1)[0].similarity == pytest.approx(1, abs=1e-5)
