"""A published one-hot table with its images beside it."""

from collections.abc import Callable
from pathlib import Path


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """One row per label, and a malformed one."""
    rows = []
    for number in range(6):
        draw(root / f"nih14/images_001/images/{number}.png")
        marks = "1,0" if number % 2 else "0,1"
        rows.append(
            f"nih14/images_001/images/{number}.png,nih14,{('train', 'val', 'test')[number % 3]},XR,chest,{marks}"
        )
    header = "filepath,dataset,split,modality,anatomic_region,XR/chest/No Finding,XR/chest/Pleural Effusion"
    (root / "nih14.csv").write_text("\n".join([header, *rows, "x.png,nih14,train,XR,chest,2,0"]) + "\n")
    return root / "nih14.csv"
