"""RadImageNet in miniature: 270 images in 27 folders of three modalities, and a table for each split."""

import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

WITHOUT_FINDING = (
    *("aorta", "bladder", "cbd", "fibroid", "gb", "ivc", "kidney", "liver", "ovary", "pancreas", "portal_vein"),
    *("spleen", "thyroid", "uterus"),
)
FOLDERS = (
    *(
        "CT/abd/normal",
        "CT/abd/gallstone",
        "CT/lung/normal",
        "CT/lung/Nodule",
        "MR/af/normal",
        "MR/af/Plantar_plate_tear",
    ),
    *("MR/brain/normal", "MR/brain/white_matter_changes", "MR/knee/acl_pathology", "MR/spine/disc_pathology"),
    *(f"US/{name}" for name in (*WITHOUT_FINDING, "thyroid_nodule")),
    *("US/gallbladder_mystery", "CT/abd"),
)


def build(root: Path, draw: Callable[[Path], None], naming: str = "RadImageNet") -> Path:
    """Of ten images a folder, the last is for validation and the two before it are for testing.

    Two pictures are there twice: a training image as a validation image, and as a test image written anew.
    """
    listed: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for folder in FOLDERS:
        stem = _stem(folder)
        for number in range(10):
            name = _name(folder, number)
            split = "val" if number == 9 else "test" if number > 6 else "train"
            listed[split].append(f"{name},{stem}")
            draw(root / name)
    shutil.copy(root / _name("MR/knee/acl_pathology", 0), root / _name("MR/knee/acl_pathology", 9))
    Image.open(root / _name("US/liver", 1)).save(root / _name("US/liver", 7), compress_level=0)
    twice, several, both, gone = listed["train"][0], listed["train"][1], listed["train"][2], listed["train"][3]
    (root / gone.split(",")[0]).unlink()
    draw(root / "radiology_ai/CT/abd/normal/unlisted.png")
    listed["train"] += [
        twice,
        f"{several.split(',')[0]},CT/abd/gallstone",
        f"{several.split(',')[0]},normal",
        f"{listed['train'][4].split(',')[0]},something",
        "radiology_ai/CT/lung/normal/short.png",
        ",nothing",
        "radiology_ai/../CT/abd/normal/secret.png,normal",
    ]
    listed["test"].append(both)
    listed["val"][0] = listed["val"][0].removeprefix("radiology_ai/")
    for split, lines in listed.items():
        (root / f"{naming}_{split}.csv").write_text("\n".join(["filename,label", *lines]) + "\n")
    (root / "radiology_ai" / "CT" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    return root


def _stem(folder: str) -> str:
    return folder.split("/", 1)[1].replace("/", "-")


def _name(folder: str, number: int) -> str:
    return f"radiology_ai/{folder}/{_stem(folder)}{number:06}.png"
