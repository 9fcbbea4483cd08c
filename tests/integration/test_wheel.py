"""The built wheel, alone in an empty environment away from the checkout, does the main job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(1500)
def test_the_wheel_does_the_main_job(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT], check=True, capture_output=True
    )
    (wheel,) = (tmp_path / "dist").glob("medcbir-*.whl")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel], check=True
    )

    images = tmp_path / "images"
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for region in ("chest", "head"):
            folder = images / split / "CT" / region / "finding"
            folder.mkdir(parents=True)
            for number in range(3):
                base = 60 if region == "chest" else 180
                pixels = rng.integers(base, base + 40, (64, 64), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON", "MEDCBIR"))}
    clean.pop("DATABASE_URL", None)
    clean["MEDCBIR_DATA_DIR"] = str(tmp_path / "data")

    def medcbir(*arguments: str) -> str:
        return subprocess.run(
            [environment / "bin" / "medcbir", *arguments],
            check=True,
            cwd=tmp_path,
            env=clean,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    try:
        assert json.loads(medcbir("ingest", "images", "--format", "json"))["added"] == 12
        query = images / "test" / "CT" / "head" / "finding" / "0.png"
        hits = json.loads(medcbir("search", "--image", str(query), "-n", "3", "--format", "json"))["hits"]
        assert hits[0]["uri"] == str(query)
        assert hits[0]["similarity"] == pytest.approx(1.0, abs=1e-6)
        medcbir("retrieve", "-n", "3")
        metrics = json.loads(medcbir("evaluate", "--n", "1,3", "--format", "json"))
        assert metrics["queries"] == 6
        assert all(metric["value"] == 1.0 for metric in metrics["metrics"])
    finally:
        medcbir("db", "stop")
