"""A folder of DICOM files, as pydicom brings them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def build(root: Path, _: Callable[[Path], None]) -> Path:
    """Two objects and a text."""
    for name in ("CT_small.dcm", "MR_small.dcm"):
        (root / "study").mkdir(parents=True, exist_ok=True)
        shutil.copy(FILES / name, root / "study")
    (root / "notes.txt").write_text("notes\n")
    return root
