"""A report as a user would have it: published tables and vectors, and a hospital's images, with hostile names."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

import medcbir
from medcbir.report import EncoderResults, Provenance, StepFact, write_benchmark
from medcbir.store.connection import open_database

HOSTILE = '<script>alert(1)</script>|=2+3 $x^2$ \\input{y} [a](b) "q"'
LABELS = ("XR/chest/No Finding", "XR/chest/Edema", "CT/lung/nodule", f"CT/lung/{HOSTILE.replace('/', '_')}")


def _published(folder: Path) -> dict[str, int]:
    """One-hot tables of two datasets in the published layout; returns each filepath's class."""
    of: dict[str, int] = {}
    for dataset, classes in (("nih14", (0, 1)), ("radiology_ai", (2, 3))):
        header = ["filepath", "dataset", "split", "modality", "anatomic_region", *(LABELS[each] for each in classes)]
        rows = [",".join('"' + each.replace('"', '""') + '"' for each in header)]
        for number in range(60):
            truth = classes[number % 2]
            path = f"{dataset}/images_{number % 3:03d}/secretfile{number}.png"
            of[path] = truth
            split = ("train", "train", "train", "val", "test")[number // 2 % 5]
            modality, region = LABELS[truth].split("/")[:2]
            rows.append(
                f"{path},{dataset},{split},{modality},{region},{','.join(str(int(truth == c)) for c in classes)}"
            )
        (folder / f"{dataset}.csv").write_text("\n".join(rows) + "\n")
    return of


@pytest.fixture(scope="session")
def reported(
    clone: Callable[..., str], tmp_path_factory: pytest.TempPathFactory, draw: Callable[[Path], None]
) -> Iterator[SimpleNamespace]:
    """A database with runs, classifications and ablations of two encoders, and the report on them in `out`."""
    folder = tmp_path_factory.mktemp("reported")
    rng = np.random.default_rng(3)
    of = _published(folder)
    ward = ["uri,dataset,patient,split,modality,region,finding,burned_in"]
    for number in range(24):
        uri = f"ward/secretscan{number}.png"
        draw(folder / uri)
        with Image.open(folder / uri) as image:
            image.save(folder / uri)
        of[uri] = 2 + number % 2
        split = "test" if number % 4 == 3 else "train"
        ward.append(f'{uri},ward "A" & <b>,Doe{number // 3},{split},MR,head,{"tumour" if number % 2 else "normal"},')
    (folder / "ward.csv").write_text(
        "\n".join(line.replace('ward "A" & <b>', '"ward ""A"" & <b>"') for line in ward) + "\n"
    )
    with medcbir.connect(clone(), data_dir=folder / "data") as db:
        for dataset in ("nih14", "radiology_ai"):
            db.ingest(folder / f"{dataset}.csv", metadata_only=True)
        db.ingest(folder / "ward.csv", root=folder, encode=False)
        db.query(
            "UPDATE image SET attributes = attributes || jsonb_build_object('burned_in', true) "
            "WHERE uri = 'ward/secretscan0.png' RETURNING 1"
        )
        centres = rng.normal(size=(4, 16))
        for encoder, noise in (("biomedclip", 0.8), ("clip", 1.2)):
            vectors = {uri: centres[truth] + noise * rng.normal(size=16) for uri, truth in of.items()}
            with h5py.File(folder / f"{encoder}.h5", "w") as out:
                for uri, vector in vectors.items():
                    out[uri] = (vector / np.linalg.norm(vector)).astype(np.float32)
            db.import_vectors(folder / f"{encoder}.h5", encoder=encoder)
        results = []
        projection = db.map(encoder="biomedclip").projection_id
        for encoder in ("biomedclip", "clip"):
            db.retrieve(encoder=encoder, n=10, exclude_same_patient=False, name=f"{encoder}-same")
            db.retrieve(encoder=encoder, n=10, name=encoder)
            knn = db.classify_knn(encoder=encoder, k=3).classification_id
            linear = db.classify_linear(encoder=encoder, epochs=2, device="cpu").classification_id
            ablation = db.ablate_index_size(encoder=encoder, sizes=(2, 4), seeds=2).ablation_id
            results.append(
                EncoderResults(
                    encoder,
                    run=encoder,
                    same_patient_run=f"{encoder}-same",
                    knn=knn,
                    linear=linear,
                    ablation=ablation,
                    projection=projection if encoder == "biomedclip" else None,
                    images_per_second=12.5,
                    peak_mib=900.0,
                )
            )
        made = Provenance(
            "test",
            ("medcbir bench --suite <smoke>",),
            {"CPU": "two cores"},
            {"Python": "3"},
            steps=(StepFact("check data", "done", 0.1), StepFact("map", "failed", 1.0, 12.0, "<no> memory")),
        )

        def write(out: Path) -> list[Path]:
            with open_database(db.conninfo, install="never") as connection:
                return write_benchmark(connection, out, results, made, read=db.read_image)

        files = write(folder / "out")
        yield SimpleNamespace(
            db=db, out=folder / "out", files=files, write=write, results=results, provenance=made, folder=folder
        )
