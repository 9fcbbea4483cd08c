"""NIH ChestX-ray14 in miniature: 240 images in twelve folders, and everything that may be wrong with such a tree."""

from collections.abc import Callable
from pathlib import Path

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
FINDINGS = (
    *("No Finding", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis"),
    *("Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
    *("Effusion|Mass", "Cardiomegaly|Effusion|Edema"),
)


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """80 patients with three images each; patients 61 to 80 are the test set."""
    rows, train_val, test = [], [], []
    for patient in range(1, 81):
        for visit in range(3):
            name = f"{patient:08}_{visit:03}.png"
            at = 3 * patient + visit
            rows.append(
                f"{name},{FINDINGS[at % len(FINDINGS)]},{visit},{patient},058Y,M,{'PA' if at % 3 else 'AP'},"
                "2682,2749,0.143,0.143,"
            )
            (test if patient > 60 else train_val).append(name)
            draw(root / f"images_{at % 12 + 1:03}" / "images" / name)
    for at, findings in ((5, "Tuberculosis|Mass"), (6, "Tuberculosis"), (7, "Mass| Mass"), (8, "")):
        name, _, *further = rows[at].split(",")
        rows[at] = ",".join([name, findings, *further])
    (root / "images_001/images/00000004_000.png").unlink()
    draw(root / "images_003/images/00009999_000.png")
    draw(root / "images_012/images/00000001_000.png")
    rows += [
        rows[10],
        "00000081_000.png,Mass,0,81",
        "00000082_000.png,Mass,0,82,058Y,M,PA,2682,2749,0.143,0.143,",
        "00000083_000.png,Mass,0,83,058Y,M,PA,2682,2749,0.143,0.143,",
    ]
    draw(root / "images_002/images/00000083_000.png")
    train_val += ["00000084_000.png", test[0]]
    (root / "Data_Entry_2017.csv").write_text("\r\n".join([HEADER, *rows]) + "\r\n")
    (root / "train_val_list.txt").write_text("\r\n".join(train_val))
    (root / "test_list.txt").write_text("\n".join(test) + "\n\n")
    (root / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    (root / "images_001" / "._.DS_Store").write_bytes(b"\0\5\26\7")
    return root
