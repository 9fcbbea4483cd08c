import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pydicom
import pytest
from numpy.random import default_rng
from PIL import Image

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CLASSES = ("CT/chest/nodule", "CT/chest/mass_like", "MR/brain/grade_3^4 & 50% #1 {$x}~\\")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 labelled PNGs `train|test/MODALITY/region/finding/<patient>_<number>.png`, alike in a class, and a DICOM."""
    folder = tmp_path_factory.mktemp("images")
    random = default_rng(0)
    for number in range(18):
        motif = default_rng(number % 3).integers(0, 256, (6, 6))
        noisy = np.clip(motif + random.normal(scale=12, size=(6, 6)), 0, 255).astype(np.uint8)
        place = folder / ("train" if number < 12 else "test") / CLASSES[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        image = np.asarray(Image.fromarray(noisy).resize((64, 64), Image.Resampling.BICUBIC))
        deep = number % 2 == 0
        Image.fromarray(image.astype(np.uint16) * 16 if deep else image).save(place / f"p{number // 3}_{number:02}.png")
    shutil.copy(TEST_FILES / "CT_small.dcm", folder / "train")
    return folder


@pytest.fixture(scope="session")
def filled(clone: Callable[..., str], images: Path, run_medcbir: Callable[..., CompletedProcess[str]]) -> str:
    """A database with these images, their vectors, and a run named `first`."""
    url = clone()
    template = "{split}/{modality}/{region}/{finding}/{patient}_*"
    done = run_medcbir("ingest", images, "--name", "made", "--label-from", template, "--database-url", url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "19 images encoded" in done.stdout
    done = run_medcbir("retrieve", "-n", 5, "--name", "first", "--database-url", url)
    assert done.returncode == 0, done.stderr
    return url
