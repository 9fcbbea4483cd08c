"""Golden vectors: what every encoder makes of one real slice, and every text tower of four tokens, with set weights.

The weights depend on nothing but the names and shapes of our models' tensors, so the numbers tell when a library or a
change here computes something else, also where another implementation changes alike. Regenerate golden.json, and say
why, by

    MEDCBIR_GOLDEN=write python -m pytest tests/contracts/test_golden.py
"""

import dataclasses
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from random_weights import filled, noise

from medcbir.encoders import SPECS, EncoderSpec, prepare
from medcbir.encoders.loaders import Encoder
from medcbir.encoders.models import build_model, build_text_model
from medcbir.pixels import open_image

FILE = Path(__file__).with_name("golden.json")
SLICE = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
TOLERANCE = 1e-4
"""Of each number, where another computation changes them by 1e-2 or so, and instruction sets or threads by 1e-6."""

SHALLOW: dict[str, dict[str, Any]] = {"medsiglip": {"depth": 3}}
"""Where all layers would take half a minute."""


def model_of(spec: EncoderSpec) -> tuple[object, ...]:
    return spec.architecture, spec.library, spec.output, repr(spec.options), spec.pixels, spec.dim


@lru_cache
def vector(name: str) -> np.ndarray:
    spec = SPECS[name]
    spec = dataclasses.replace(spec, options={**spec.options, **SHALLOW.get(name, {})})
    encoder = Encoder(spec, filled(lambda: build_model(spec)), torch.device("cpu"), "float32", {})
    found: np.ndarray = encoder.encode(prepare(open_image(SLICE).frame(0), spec.pixels)[None])[0]
    return found


def summary(vector: np.ndarray) -> list[float]:
    """The first eight numbers of a unit vector, eight more from end to end, and four projections of the whole of it."""
    spread = np.linspace(8, len(vector) - 1, 8).astype(int)
    directions = noise()[: 4 * len(vector)].numpy().reshape(4, -1)
    return [round(float(number), 7) for number in (*vector[:8], *vector[spread], *(directions @ vector))]


def check(name: str, vector: np.ndarray) -> None:
    known: dict[str, list[float]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("MEDCBIR_GOLDEN") == "write":
        known[name] = summary(vector)
        rows = (f"  {json.dumps(each)}: {json.dumps(known[each])}" for each in sorted(known))
        FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    np.testing.assert_allclose(summary(vector), known[name], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", SPECS)
def test_an_encoder_gives_its_golden_vector(name: str) -> None:
    same = next(other for other, spec in SPECS.items() if model_of(spec) == model_of(SPECS[name]))
    check(name, vector(same))


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.text is not None])
def test_a_text_tower_gives_its_golden_vector(name: str) -> None:
    tower = SPECS[name].text
    assert tower is not None
    layers = {"num_hidden_layers": 3} if tower.architecture == "bert" else {"layers": 3}
    shallow = dataclasses.replace(tower, options={**tower.options, **layers})
    tokens = torch.zeros(1, tower.tokenizer.length, dtype=torch.long)
    tokens[0, :4] = torch.tensor([101, 2047, 19_999, 25_000])
    with torch.inference_mode():
        found = filled(lambda: build_text_model(shallow))(tokens)[0].numpy()
    check(f"{name} (words)", found / np.linalg.norm(found))
