"""The demo: one call of the Python interface after the other, and what may be said about the outcome."""

import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medcbir.demo.gather import Collection, gather, write_manifest
from medcbir.errors import RunError
from medcbir.report import Story, draw_grid, write_report
from medcbir.report.provenance import versions
from medcbir.store.connection import open_database
from medcbir.types import EncodeReport, Filter, IngestReport, Metric, Progress, Run

if TYPE_CHECKING:
    from medcbir.api import Database

DATASET = "demo"
_NEIGHBOURS = 10
_SOURCES = ("pydicom-data", "nibabel", "nilearn")


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo did: reports of its steps, both runs with their metrics, and the files that it wrote."""

    ingested: IngestReport
    encoded: EncodeReport
    excluded: Run
    included: Run
    metrics: tuple[Metric, ...]
    same_patient_metrics: tuple[Metric, ...]
    report: Path
    grid: Path


def run_demo(db: "Database", out: Path, progress: Progress) -> Demo:
    """Run the whole chain, and write `manifest.csv`, `report.html` and `grid.png` into `out`.

    Once more, it finds nothing new to catalogue or encode, and retrieves and writes again. Raises `InputError` where
    the packages that hold the images are not installed.
    """
    collection = gather()
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    write_manifest(collection, manifest, DATASET)
    ingested = db.ingest(manifest, dataset="csv", root=collection.root, encode=False, progress=progress)
    if ingested.interrupted:
        raise KeyboardInterrupt
    encoded = db.encode(dataset=DATASET, progress=progress)
    if encoded.interrupted:
        raise KeyboardInterrupt
    excluded = _retrieve(db, "demo", encoded.encoder, exclude_same_patient=True, progress=progress)
    included = _retrieve(db, "demo-same-patient", encoded.encoder, exclude_same_patient=False, progress=progress)
    report, grid = out / "report.html", out / "grid.png"
    with open_database(db.conninfo, install="never") as connection:
        rows = write_report(
            connection,
            report,
            excluded,
            _story(collection, out),
            read=db.read_image,
            same_patient=included,
            versions=versions(_SOURCES),
        )
    draw_grid(rows).save(grid, format="PNG", optimize=True)
    return Demo(
        ingested, encoded, excluded, included, tuple(db.evaluate(excluded)), tuple(db.evaluate(included)), report, grid
    )


def _retrieve(db: "Database", name: str, encoder: str, *, exclude_same_patient: bool, progress: Progress) -> Run:
    """A fresh run under this name; one that an earlier demo left is dropped."""
    with suppress(RunError):
        db.query("SELECT drop_run(%(run_id)s)", {"run_id": db.run(name).run_id})
    return db.retrieve(
        encoder=encoder,
        n=_NEIGHBOURS,
        queries=Filter(dataset=DATASET, split="test"),
        index=Filter(dataset=DATASET),
        exclude_same_patient=exclude_same_patient,
        name=name,
        progress=progress,
    )


def _story(collection: Collection, out: Path) -> Story:
    usual = Path(sysconfig.get_path("purelib"))
    root = "$(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')"
    if collection.root.resolve() != usual.resolve():
        root = "the folder that holds the packages"
    return Story(
        title="Image retrieval from end to end, on the images at hand",
        lead=(
            "Real radiology images that come with installed Python packages were catalogued in PostgreSQL, encoded by "
            "a network with its published weights, and retrieved by exact cosine distance in pgvector: each query "
            "against the whole catalogue, once without and once with other images of its own patient. Every number in "
            "the tables is read from a SQL view."
        ),
        about_data=(
            "The images are DICOM test files of pydicom and pydicom-data, an echo-planar volume of nibabel, and axial "
            "slices of the MNI152 T1 template of nilearn. The template is an average brain of 152 adults, not a "
            "patient; all its slices are one volume, which may be retrieved and is never a query.",
            "The class of an image is its modality and region. The region was taken from the DICOM header where that "
            "names it, and otherwise read off the image (a brain counts as a head); one header that contradicts its "
            "image was overruled. "
            f"{collection.repeated} frames that decode to the very pixels of another were taken once. Lossy copies and "
            "smaller versions differ in their pixels: they stay, as images of the same patient. "
            f"{collection.left_out} files were left out: colour test patterns, masks, dose grids, plans, reports, and "
            "pictures whose anatomy cannot be made out.",
            "The split is by patient: of each class with several patients or volumes, half of the patients, drawn by "
            "digest, are queries (split test). Classes with one patient have no query and stand in the index as "
            "distractors. A few files that are damaged, or compressed in a way that no installed decoder reads, went "
            "the same way as all others and were rejected with a reason.",
        ),
        shows=(
            "The chain works from files to numbers on real images, with a real encoder and an exact search: DICOM of "
            "several transfer syntaxes, multi-frame and enhanced objects, and NIfTI volumes.",
            "How much a measure gains when a query may find its own patient. Neighbouring slices and frames of one "
            "examination are almost the same picture; finding them says nothing about finding similar cases.",
        ),
        does_not_show=(
            "Diagnostic quality: there are no findings here, only modality and region, and the encoder was trained on "
            "photographs.",
            "A benchmark: with so few patients in a class every value hangs on one to three of them, and none can be "
            "compared with the paper's.",
            "How a picture's burned-in text is found. Where the catalogue says that there is some, the picture is left "
            "out of this page; the pixels themselves are not searched for text.",
        ),
        commands=(
            f"medcbir demo --out {out.name}",
            "",
            "# or step by step, in a database that holds nothing else:",
            f'medcbir ingest {out.name}/manifest.csv --root "{root}" --no-encode',
            "medcbir encode --dataset demo",
            "medcbir retrieve -n 10 --queries test --index all --exclude-same-patient --name demo",
            "medcbir retrieve -n 10 --queries test --index all --no-exclude-same-patient --name demo-same-patient",
            "medcbir evaluate demo",
            "medcbir evaluate demo-same-patient",
        ),
    )
