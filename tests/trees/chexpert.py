"""CheXpert-v1.0-small in miniature: 240 training images of 80 patients, 12 validation images, every kind of row."""

from collections.abc import Callable
from pathlib import Path

FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS))


def row(path: str, **marks: str) -> str:
    """A line of the table; findings are written with underscores here."""
    by_name = {name.replace("_", " "): mark for name, mark in marks.items()}
    lateral = "lateral" in path
    seen = ["Female", "68", "Lateral" if lateral else "Frontal", "" if lateral else "AP"]
    return ",".join([path, *seen, *(by_name.get(name, "") for name in FINDINGS)])


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """Rows cycle through: one finding, with a device, uncertain beside, two findings, two and a -1, only -1, none."""
    tree = root / "CheXpert-v1.0-small"
    train = []
    for patient in range(1, 81):
        for image in range(3):
            at = 3 * patient + image
            name = f"train/patient{patient:05}/study{image + 1}/view1_{'lateral' if at % 5 == 0 else 'frontal'}.jpg"
            draw(tree / name)
            one, two, three = (FINDINGS[(at + step) % 13].replace(" ", "_") for step in (0, 1, 2))
            marks = (
                {one: "1.0", two: "0.0"},
                {one: "1.0", "Support_Devices": "1.0"},
                {one: "1.0", "Support_Devices": "-1.0"},
                {one: "1.0", two: "-1.0"},
                {one: "1.0", two: "1.0"},
                {one: "1.0", two: "1.0", three: "-1.0"},
                {one: "-1.0"},
                {},
            )[at % 8]
            train.append(row(f"CheXpert-v1.0-small/{name}", **marks))
    (tree / "train/patient00009/study1/view1_frontal.jpg").unlink()
    draw(tree / "train/patient00009/study1/view2_frontal.jpg")
    train += [
        train[20],
        row("CheXpert-v1.0-small/train/patient00099/study1/view1_frontal.jpg", Edema="2.0"),
        row("CheXpert-v1.0-small/train/patient00099/view1_frontal.jpg", Edema="1.0"),
        row("CheXpert-v1.0-small/../../patient00099/secret.jpg", Edema="1.0"),
        "CheXpert-v1.0-small/train/patient00099/study2/view1_frontal.jpg,Female",
    ]
    valid = []
    for patient in range(64541, 64553):
        name = f"valid/patient{patient}/study1/view1_frontal.jpg"
        draw(tree / name)
        marks = dict.fromkeys((finding.replace(" ", "_") for finding in FINDINGS), "0.0")
        marks[FINDINGS[patient % 13].replace(" ", "_")] = "1.0"
        valid.append(row(f"CheXpert-v1.0-small/{name}", **marks))
    (tree / "train.csv").write_text("\n".join([HEADER, *train]) + "\n")
    (tree / "valid.csv").write_text("\n".join([HEADER, *valid]) + "\n")
    (tree / "README.txt").write_text("terms of use\n")
    return tree
