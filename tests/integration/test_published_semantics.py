"""From the published files to the published numbers: one-hot tables and HDF5 vectors in, capped P@N of N = 1 to 99 out.

Against the formulas of the published code alone, in plain Python: P@N = relevant / min(N, index images of the class),
micro as mean and sample standard deviation over queries, macro as mean over classes of a class's mean and of its sample
standard deviation, which a class of one query lacks. A class that the index lacks is 0/0 there, and left out here.
"""

import statistics
from pathlib import Path

import h5py
import numpy as np
import pytest

import medcbir

CLASSES = {
    "nih14": {"XR/chest/No Finding": 150, "XR/chest/Cardiomegaly": 40, "XR/chest/Hernia": 7},
    "mimic": {"XR/chest/No Finding": 90, "XR/chest/Edema": 25},
    "radiology_ai": {"CT/lung/nodule": 130, "US/liver/normal": 30, "CT/abd/rare": 3},
}
ABSENT = "CT/abd/rare"  # its images are all queries


def collection() -> dict[str, tuple[str, str, str, np.ndarray]]:
    """path: dataset, split, label and unit vector of each image; neighbours are often of another class."""
    rng = np.random.default_rng(6)
    made = {}
    for dataset, classes in CLASSES.items():
        for label, count in classes.items():
            centre = np.random.default_rng(len(label)).normal(size=24)
            for number in range(count):
                split = "test" if number % 4 == 0 or label == ABSENT else "train"
                if label == "XR/chest/Hernia":
                    split = "test" if number == 0 else "train"  # one query
                vector = centre + 2.5 * rng.normal(size=24)
                path = f"{dataset}/images_{number % 3:03d}/{label.split('/')[-1].replace(' ', '_')}_{number}.png"
                made[path] = (dataset, split, label, (vector / np.linalg.norm(vector)).astype(np.float32))
    return made


def test_capped_precision_micro_and_macro_for_n_1_to_99(db: medcbir.Database, tmp_path: Path) -> None:
    images = collection()
    for dataset, classes in CLASSES.items():
        lines = ["filepath,dataset,split,modality,anatomic_region," + ",".join(classes)]
        with h5py.File(tmp_path / f"{dataset}.h5", "w") as out:
            for path, (of, split, label, vector) in images.items():
                if of == dataset:
                    modality, region, _ = label.split("/")
                    marks = ",".join(str(int(label == each)) for each in classes)
                    lines.append(f"{path},{dataset},{split},{modality},{region},{marks}")
                    out[path] = vector
        (tmp_path / f"{dataset}.csv").write_text("\n".join(lines) + "\n")
        db.ingest(tmp_path / f"{dataset}.csv", metadata_only=True)
        db.import_vectors(tmp_path / f"{dataset}.h5", encoder="published")
    run = db.retrieve(encoder="published", n=100)
    found = {
        (m.n, m.average): m for m in db.evaluate(run, n=range(1, 100), intervals=False) if m.definition == "capped"
    }

    index = [(label, vector.astype(np.float64)) for _, split, label, vector in images.values() if split == "train"]
    sizes = {label: sum(label == other for other, _ in index) for _, _, label, _ in images.values()}
    stacked = np.stack([vector for _, vector in index])
    hits = [
        (label, [index[at][0] for at in np.argsort(-stacked @ vector.astype(np.float64))[:100]])
        for _, split, label, vector in images.values()
        if split == "test"
    ]
    assert run.labelled_queries == len(hits)
    assert sizes[ABSENT] == 0
    assert 1 <= sorted(sizes.values())[1] < 99 < max(sizes.values())
    for n in range(1, 100):
        values: dict[str, list[float]] = {}
        for label, neighbours in hits:
            if sizes[label]:
                relevant = sum(neighbour == label for neighbour in neighbours[:n])
                values.setdefault(label, []).append(relevant / min(n, sizes[label]))
        every = [value for of_class in values.values() for value in of_class]
        micro, macro = found[n, "micro"], found[n, "macro"]
        assert micro.value == pytest.approx(statistics.fmean(every), abs=1e-12)
        assert micro.std == pytest.approx(statistics.stdev(every), abs=1e-12)
        assert macro.value == pytest.approx(statistics.fmean(map(statistics.fmean, values.values())), abs=1e-12)
        spreads = [statistics.stdev(of_class) for of_class in values.values() if len(of_class) > 1]
        assert macro.std == pytest.approx(statistics.fmean(spreads), abs=1e-12)
        assert (micro.undefined, macro.undefined) == (3, 1)
        assert len(spreads) == len(values) - 1
