"""A plain folder of images, sorted by hand."""

from collections.abc import Callable
from pathlib import Path


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """Some with a split and a label, some without."""
    for number in range(12):
        draw(root / f"{('train', 'test')[number % 2]}/CT/chest/{('normal', 'nodule')[number % 3 == 0]}/{number}.png")
    draw(root / "elsewhere" / "a.jpg")
    (root / "notes.txt").write_text("notes\n")
    return root
