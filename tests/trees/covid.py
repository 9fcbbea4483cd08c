"""COVIDx in miniature: 210 training and 30 test images, PNG and JPEG, some with blanks in their names."""

from collections.abc import Callable
from pathlib import Path

CLASSES = ("normal", "pneumonia", "COVID-19")


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """Files lie in folders named as their split."""
    listed: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(240):
        split = "train" if number < 210 else "test"
        suffix = ("png", "jpg", "jpeg")[number % 3]
        name = f"COVID 00{number} (1).{suffix}" if number % 7 == 0 else f"case-{number}-day0.{suffix}"
        listed[split].append(
            f"{split[:2]}{number // 2} {name} {CLASSES[number % 3]} {'cohen' if number % 2 else 'rsna'}"
        )
        draw(root / split / name)
    (root / "train" / "case-4-day0.jpg").unlink()
    draw(root / "train" / "unlisted.png")
    draw(root / "train" / "case-211-day0.jpg")
    listed["train"] += [
        listed["test"][1],
        "17 lonely.png",
        "9 case-900-day0.png lungs cohen",
        "9 gone.png normal cohen",
    ]
    draw(root / "train" / "case-900-day0.png")
    (root / "train.txt").write_text("\n".join(listed["train"]) + "\n")
    (root / "test.txt").write_text("\r\n".join(listed["test"]) + "\r\n\r\n")
    (root / "metadata.csv").write_text("patientid,sex\n")
    return root
