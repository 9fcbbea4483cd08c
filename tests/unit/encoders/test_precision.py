"""Encoders in bfloat16 are others than those in float32: by name, by recipe, and in the database."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medcbir
from medcbir.encoders import faster_precision, get_spec, of_precision, recipe_of
from medcbir.errors import EncoderError, InputError

NAME = "efficientnet_lite0"


def test_the_name_tells_the_precision_and_nothing_else_differs(tmp_path: Path) -> None:
    exact, low = get_spec(NAME), get_spec(f"{NAME}_bf16")
    assert (exact.precision, low.precision) == ("float32", "bfloat16")
    assert of_precision(exact, "bfloat16") == of_precision(low, "bfloat16") == low
    assert of_precision(low, "float32") == exact
    assert recipe_of(low, tmp_path) == recipe_of(exact, tmp_path) | {"precision": "bfloat16"}
    with pytest.raises(EncoderError, match="unknown encoder 'nothing_bf16'"):
        get_spec("nothing_bf16")


def test_vectors_of_both_precisions_are_kept_apart(
    db: medcbir.Database, tmp_path: Path, draw: Callable[[Path], None]
) -> None:
    for number in range(6):
        draw(tmp_path / "images" / f"{number}.png")
    db.ingest(tmp_path / "images", encode=False)
    assert db.encode(NAME, device="cpu").encoder == NAME
    report = db.encode(NAME, precision="bfloat16", device="cpu")
    assert (report.encoder, report.encoded, report.version_of) == (f"{NAME}_bf16", 6, None)
    assert db.encode(f"{NAME}_bf16", device="cpu").encoded == 0
    rows = db.query(f"SELECT {NAME}::real[], {NAME}_bf16::real[] FROM image_vectors")
    exact, low = (np.array(column) for column in zip(*rows, strict=True))
    cosines = (exact * low).sum(axis=1)
    assert (cosines > 0.97).all()  # as low as 0.988 on some processors
    assert (cosines < 1 - 1e-7).any()
    hits = db.search(image=tmp_path / "images" / "3.png", encoder=f"{NAME}_bf16", n=1)
    assert hits[0].uri.endswith("3.png")
    with pytest.raises(InputError, match="must be auto, float32 or bfloat16"):
        db.encode(NAME, precision="float16")  # type: ignore[arg-type]


def test_auto_goes_on_with_the_vectors_that_are_there(
    db: medcbir.Database, tmp_path: Path, draw: Callable[[Path], None]
) -> None:
    draw(tmp_path / "images" / "0.png")
    db.ingest(tmp_path / "images", encode=False)
    db.encode(NAME, precision="bfloat16", device="cpu")
    draw(tmp_path / "images" / "1.png")
    db.ingest(tmp_path / "images", encode=False)
    report = db.encode(NAME, precision="auto", device="cpu")
    assert (report.encoder, report.encoded) == (f"{NAME}_bf16", 1)


def test_the_faster_precision_is_measured() -> None:
    assert faster_precision(get_spec(NAME), device="cpu") in {"float32", "bfloat16"}
