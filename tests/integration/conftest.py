from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

DrawImages = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def draw_images() -> DrawImages:
    """Draws `count` different smooth grey PNGs in a folder; every fourth has 16 bits."""

    def draw(folder: Path, count: int, *, folders: Sequence[str] = (".",), seed: int = 0) -> list[Path]:
        random = default_rng(seed)
        files = []
        for number in range(count):
            file = folder / folders[number % len(folders)] / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8))
            image = np.asarray(small.resize((64, 48), Image.Resampling.BICUBIC))
            Image.fromarray(image.astype(np.uint16) * 16 if number % 4 == 3 else image).save(file)
            files.append(file)
        return files

    return draw
