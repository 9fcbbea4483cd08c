"""A manifest with its images beside it."""

from collections.abc import Callable
from pathlib import Path


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """Labelled, unlabelled and malformed rows."""
    for number in range(6):
        draw(root / f"images/{number}.png")
    rows = [
        f"images/{number}.png,{'train' if number else 'test'},CT,chest,{'nodule' * (number % 2)}" for number in range(6)
    ]
    (root / "list.csv").write_text("\n".join(["uri,split,modality,region,finding", *rows, "images/7.png"]) + "\n")
    return root / "list.csv"
