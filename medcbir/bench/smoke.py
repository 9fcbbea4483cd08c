"""The smoke suite's images and vectors: the demo's real images, and a baseline that looks at plain pixels.

Its numbers show that every step works. So few images show nothing about how well an encoder retrieves.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, Step
from medcbir.demo.gather import Collection, gather, write_manifest
from medcbir.encoders import Pixels, prepare
from medcbir.errors import MedcbirError
from medcbir.types import Progress

DATASET = "smoke"
PIXELS = "pixels_16x16"
"""Name of the baseline: an image's grey levels on a grid of 16 x 16, as a vector (256,). No model is in it."""

_GRID = Pixels(size=16, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bilinear", crop=1.0, resize="squash")


def smoke_steps(bench: Bench) -> list[Step]:
    """The steps `catalogue` and `vectors`."""
    manifest = bench.out / "manifest.csv"

    def inputs() -> Facts:
        collection = _collection()
        return {"images": [[str(each.path), each.frame, each.split] for each in collection.items]}

    def catalogue(progress: Progress) -> Facts:
        collection = _collection()
        write_manifest(collection, manifest, DATASET)
        report = bench.db.ingest(manifest, dataset="csv", root=collection.root, encode=False, progress=progress)
        if report.interrupted:
            raise KeyboardInterrupt
        bench.catalogue_changed()
        return {"catalogue": bench.catalogue(), "rejected": report.rejected}

    def catalogue_holds(facts: Facts) -> bool:
        return bool(bench.catalogue() == facts["catalogue"])

    def vectors(progress: Progress) -> Facts:
        file = bench.out / f"{PIXELS}.npz"
        _write_pixels(_collection(), file, progress)
        bench.db.import_vectors(file, encoder=PIXELS)
        return {"encoder": PIXELS, "vectors": bench.vectors(PIXELS)}

    def vectors_hold(facts: Facts) -> bool:
        return bench.encoder(PIXELS) is not None and bench.vectors(PIXELS) == facts["vectors"]

    return [
        Step("catalogue", inputs, catalogue, holds=catalogue_holds, estimate=lambda: 5.0),
        Step(
            "vectors",
            lambda: {"catalogue": bench.catalogue()},
            vectors,
            PIXELS,
            ("catalogue",),
            vectors_hold,
            lambda: 3.0,
        ),
    ]


def with_validation(collection: Collection) -> Collection:
    """The collection, where every second patient of a class's queries is for validation instead."""
    of_class: dict[tuple[str, str], list[str]] = {}
    for item in collection.items:
        patients = of_class.setdefault(item.described.label, [])
        if item.split == "test" and item.described.patient not in patients:
            patients.append(item.described.patient)
    validating = {patient for patients in of_class.values() for patient in sorted(patients)[1::2]}
    return replace(
        collection,
        items=tuple(
            replace(item, split="val") if item.described.patient in validating else item for item in collection.items
        ),
    )


@cache
def _collection() -> Collection:
    return with_validation(gather())


def _write_pixels(collection: Collection, file: Path, progress: Progress) -> None:
    """Vectors of all pictures that can be read and are not black."""
    from medcbir.pixels import open_image

    progress.begin("grey levels", "images", len(collection.items))
    uris, frames, vectors = [], [], []
    for item in collection.items:
        progress.advance(1)
        try:
            grey = prepare(open_image(item.path).frame(item.frame), _GRID).mean(axis=2)
        except MedcbirError:
            continue  # ingest has told why
        if grey.any():
            uris.append(item.path.relative_to(collection.root).as_posix())
            frames.append(item.frame)
            vectors.append(grey.ravel())
    np.savez(file, uri=np.array(uris), frame=np.array(frames), vector=np.array(vectors, dtype=np.float32))
