"""MIMIC-CXR-JPG 2.0.0 in miniature: 210 images of 120 studies and 60 patients, tables compressed as published."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion"),
    *("Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax"),
    "Support Devices",
)


def build(root: Path, draw: Callable[[Path], None]) -> Path:
    """Two studies a patient, of one and of two or three images; studies cycle through one finding, two, -1 and none."""
    splits = ["dicom_id,study_id,subject_id,split"]
    labels = [",".join(("subject_id", "study_id", *FINDINGS))]
    views = ["dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate"]
    images = []
    for patient in range(60):
        subject = 10000032 + 190001 * patient
        split = "test" if patient % 10 == 0 else "validate" if patient % 10 == 1 else "train"
        for visit in range(2):
            study = 50000000 + 1000 * patient + visit
            marks = dict.fromkeys(FINDINGS, "")
            one, two = FINDINGS[(patient + visit) % 13], FINDINGS[(patient + visit + 1) % 13]
            kind = (2 * patient + visit) % 7
            marks[one] = "-1.0" if kind == 5 else "" if kind == 6 else "1.0"
            if kind in (1, 2, 3):
                marks[two] = {1: "-1.0", 2: "1.0", 3: "0.0"}[kind]
            if kind == 4:
                marks["Support Devices"] = "1.0"
            labels.append(",".join((str(subject), str(study), *marks.values())))
            for number in range(1 if visit == 0 else 2 + patient % 2):
                digest = hashlib.sha256(f"{study}/{number}".encode()).hexdigest()
                dicom = "-".join(digest[at : at + 8] for at in range(0, 40, 8))
                splits.append(f"{dicom},{study},{subject},{split}")
                view = ("AP", "LATERAL", "")[number]
                views.append(f"{dicom},{subject},{study},CHEST (PA AND LAT),{view},3056,2544,21800506")
                images.append(root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg")
                draw(images[-1])
    del labels[8]
    labels += [
        "19999999,59999999" + ",1.0" + "," * 13,
        labels[1],
        "19999999,59999998" + ",yes" + "," * 13,
        "p1,59999998" + ",1.0" + "," * 13,
    ]
    images[40].unlink()
    draw(images[41].with_name("00000000-00000000-00000000-00000000-00000000.jpg"))
    splits += [splits[3], "d,50000000,10000032,holdout", "../../secret,50000000,10000032,train", ",50000000,1,train"]
    with gzip.open(root / "mimic-cxr-2.0.0-split.csv.gz", "wt") as stream:
        stream.write("\n".join(splits) + "\n")
    with gzip.open(root / "mimic-cxr-2.0.0-chexpert.csv.gz", "wt") as stream:
        stream.write("\n".join(labels) + "\n")
    (root / "mimic-cxr-2.0.0-metadata.csv").write_text("\n".join(views) + "\n")
    (root / "mimic-cxr-2.0.0-negbio.csv.gz").write_bytes(b"")
    (root / "files" / "p10" / "index.html").write_text("<html></html>\n")
    (root / "LICENSE.txt").write_text("licence\n")
    return root
