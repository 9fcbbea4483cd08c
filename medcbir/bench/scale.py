"""The scale suite: the whole chain on a synthetic collection, checked against what its generator knows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medcbir.bench import estimates
from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, Step
from medcbir.bench.synthetic import DATASETS, SPLITS, Collection, Images
from medcbir.errors import InputError, RunError
from medcbir.store.vector_files import Layout, VectorBatch, write_vectors
from medcbir.types import Progress, Vectors

ENCODER = "synthetic"
_ASKED = 200
_TIE = 1e-6  # float32 and float64 may order two hits either way whose distances differ by less


def scale_steps(bench: Bench, collection: Collection) -> list[Step]:
    """The steps `catalogue` and `vectors`."""

    def inputs() -> Facts:
        return {"collection": repr(collection), "medcbir": bench.program["medcbir"]}

    def catalogue(progress: Progress) -> Facts:
        _require_own(bench)
        manifest = bench.out / "manifest.csv"
        collection.write_manifest(manifest)
        report = bench.db.ingest(manifest, dataset="csv", metadata_only=True, progress=progress)
        if report.interrupted:
            raise KeyboardInterrupt
        manifest.unlink()
        bench.catalogue_changed()
        _check_counts(bench, collection)
        return {"images": report.added + report.updated + report.unchanged, "catalogue": bench.catalogue()}

    def catalogue_holds(facts: Facts) -> bool:
        return bool(bench.catalogue() == facts["catalogue"])

    def vectors(progress: Progress) -> Facts:
        total = 0
        for group in collection.groups:
            file = bench.out / f"{group.dataset}-{group.modality}.parquet"
            chunks = (images for images in collection.images() if images.group is group)
            progress.begin(f"vectors of {group.dataset} {group.modality}", "vectors", int(group.counts.sum()))
            _write(collection, file, chunks, int(group.counts.sum()), progress)
            report = bench.db.import_vectors(file, encoder=ENCODER)
            total += report.added + report.unchanged
            file.unlink()
        return {"encoder": ENCODER, "count": total, "vectors": bench.vectors(ENCODER)}

    def vectors_hold(facts: Facts) -> bool:
        return bench.encoder(ENCODER) is not None and bench.vectors(ENCODER) == facts["vectors"]

    return [
        Step(
            "catalogue",
            inputs,
            catalogue,
            holds=catalogue_holds,
            estimate=lambda: estimates.cataloguing(collection.size),
        ),
        Step(
            "vectors",
            lambda: {**inputs(), "catalogue": bench.catalogue()},
            vectors,
            ENCODER,
            ("catalogue",),
            vectors_hold,
            lambda: estimates.importing(collection.size),
        ),
    ]


def truth_step(bench: Bench, collection: Collection) -> Step:
    """The step `truth`: hits of some queries computed again in float64 from the generator, without the database."""

    def check(progress: Progress) -> Facts:
        name = f"bench-scale-{ENCODER}"
        expected = brute_force(collection, _ASKED, bench.suite.n, progress)
        rows = bench.db.query(
            "SELECT q.uri, array_agg(h.uri ORDER BY h.rank), array_agg(h.distance ORDER BY h.rank) FROM ("
            "SELECT v.query_id, v.rank, v.distance, i.uri FROM hit AS v JOIN run AS r USING (run_id) "
            "JOIN image AS i ON i.image_id = v.image_id WHERE r.name = %(name)s) AS h "
            "JOIN image AS q ON q.image_id = h.query_id WHERE q.uri = any(%(uris)s) GROUP BY q.uri",
            {"name": name, "uris": list(expected)},
        )
        found = {uri: (uris, distances) for uri, uris, distances in rows}
        wrong = [uri for uri, hits in expected.items() if not _same(hits, found.get(uri, ([], [])))]
        if wrong:
            raise RunError(
                f"{len(wrong)} of {len(expected)} queries, {wrong[0]} among them, have other hits than brute force in "
                "float64: this is an error of the program"
            )
        return {"queries": len(expected), "differences": 0}

    return Step(
        "truth",
        lambda: {"collection": repr(collection), **bench.vectors(ENCODER)},
        check,
        ENCODER,
        (f"retrieve-{ENCODER}",),
        estimate=lambda: estimates.checking(collection.size),
    )


Hits = tuple[list[str], list[float]]


def brute_force(collection: Collection, asked: int, n: int, progress: Progress) -> dict[str, Hits]:
    """The nearest `n` index images of some queries drawn by seed: uris and cosine distances, all in float64.

    The query's patient is left out.
    """
    queries, index = SPLITS.index("test"), SPLITS.index("train")
    total = sum(int(group.counts[:, queries].sum()) for group in collection.groups)
    drawn = np.random.default_rng([collection.seed, 4]).choice(total, min(asked, total), replace=False)
    wanted = np.zeros(total, dtype=bool)
    wanted[drawn] = True
    uris: list[str] = []
    vectors: list[Vectors] = []
    patients: list[npt.NDArray[np.int64]] = []
    seen = 0
    for images in collection.images():
        places = np.flatnonzero(images.splits == queries)
        chosen = places[wanted[seen : seen + len(places)]]
        seen += len(places)
        if len(chosen):
            names = images.uris
            uris += [names[place] for place in chosen]
            vectors.append(collection.vectors(images)[chosen])
            patients.append(images.patients[chosen])
    asking, of_patient = np.concatenate(vectors).astype(np.float64), np.concatenate(patients)
    best = np.full((len(asking), n), np.inf)
    best_of = np.full((len(asking), n), -1)
    progress.begin("brute force in float64", "images", collection.size)
    chunks: list[Images] = []
    for images in collection.images():
        progress.advance(len(images.classes))
        places = np.flatnonzero(images.splits == index)
        if len(places):
            distances = 1 - asking @ collection.vectors(images)[places].astype(np.float64).T
            distances[of_patient[:, None] == images.patients[places]] = np.inf
            together = np.concatenate([best, distances], axis=1)
            numbers = np.broadcast_to(images.first + places, distances.shape)
            order = np.argsort(together, axis=1, kind="stable")[:, :n]
            best = np.take_along_axis(together, order, axis=1)
            best_of = np.take_along_axis(np.concatenate([best_of, numbers], axis=1), order, axis=1)
        chunks.append(images)
    starts = [images.first for images in chunks]

    def name(number: int) -> str:
        images = chunks[int(np.searchsorted(starts, number, side="right")) - 1]
        return images.uris[number - images.first]

    return {
        uri: ([name(number) for number in numbers if number >= 0], distances[numbers >= 0].tolist())
        for uri, numbers, distances in zip(uris, best_of, best, strict=True)
    }


def _same(expected: Hits, found: Hits) -> bool:
    """Whether hits agree but for the order of those as good as equally near, at the end for others as near."""
    if len(expected[0]) != len(found[0]) or not np.allclose(expected[1], found[1], rtol=0, atol=_TIE):
        return False
    last = expected[1][-1] if expected[1] else 0.0
    inside = {uri for uri, distance in zip(*expected, strict=True) if distance < last - _TIE}
    return inside <= set(found[0])


def _write(collection: Collection, file: Path, chunks: Iterator[Images], rows: int, progress: Progress) -> None:
    def batches() -> Iterator[VectorBatch]:
        for images in chunks:
            count = len(images.classes)
            yield VectorBatch(images.uris, np.zeros(count, dtype=np.int64), collection.vectors(images))
            progress.advance(count)

    write_vectors(file, Layout(rows, collection.dim, 0, False), batches())


def _require_own(bench: Bench) -> None:
    """Refuse a catalogue that holds anything but synthetic images."""
    if bench.db.query("SELECT FROM image WHERE uri NOT LIKE 'synthetic/%%' LIMIT 1"):
        raise InputError(
            "suite scale fills a database with synthetic images under the names of the paper's datasets, and this one "
            "holds others: leave out --database-url and --data-dir, or name an empty one"
        )


def _check_counts(bench: Bench, collection: Collection) -> None:
    """Compare the catalogue with the generator, dataset by dataset, modality by modality, split by split."""
    expected = {
        (group.dataset, group.modality, split): int(count)
        for group in collection.groups
        for split, count in zip(SPLITS, group.counts.sum(axis=0), strict=True)
    }
    rows = bench.rows("labelled_counts")
    found = {(each.dataset, each.modality, each.split): each.images for each in rows if each.dataset in DATASETS}
    if found != expected:
        raise RunError(
            f"the catalogue holds other counts than were generated, {sum(found.values())} images instead of "
            f"{collection.size}: drop its database and run the command again"
        )
