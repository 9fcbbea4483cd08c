"""Maps: coordinates against scikit-learn and brute force, what is stored, and what is told."""

import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from numpy.random import default_rng
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

import medcbir
from medcbir.errors import InputError, RunError
from medcbir.evaluation import layout
from medcbir.evaluation.layout import nearest_neighbours, principal_components
from medcbir.types import Filter, Silent

IMAGES = 240


@pytest.fixture
def mapped(db: medcbir.Database, tmp_path: Path) -> medcbir.Database:
    """Six classes of 40 images, far apart, of two modalities; every tenth image has no label."""
    rng = default_rng(0)
    lines = ["uri,dataset,patient,split,modality,region,finding"]
    for number in range(IMAGES):
        modality, finding = ("CT", "MR")[number % 2], f"finding {number % 6}"
        region, finding = ("chest", finding) if number % 10 else ("", "")
        lines.append(f"{number},set {number % 3},,{('train', 'test')[number % 2]},{modality},{region},{finding}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    vectors = rng.normal(size=(6, 64))[np.arange(IMAGES) % 6] + 0.3 * rng.normal(size=(IMAGES, 64))
    vectors[7] = vectors[1]  # a duplicate
    np.savez(tmp_path / "v.npz", uri=np.arange(IMAGES).astype(str), vector=vectors)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    return db


def points(db: medcbir.Database, projection_id: int) -> dict[int, tuple[float, float]]:
    rows = db.query(
        "SELECT uri, x, y FROM projection_image JOIN image USING (image_id) WHERE projection_id = %(id)s",
        {"id": projection_id},
    )
    return {int(uri): (x, y) for uri, x, y in rows}


@pytest.mark.parametrize("method", ["tsne", "pacmap"])
def test_classes_that_lie_apart_do_so_on_the_map(mapped: medcbir.Database, method: layout.Method) -> None:
    made = mapped.map(encoder="e", method=method, seed=3)
    found = points(mapped, made.projection_id)
    assert len(found) == made.images == IMAGES
    coordinates = np.array([found[number] for number in range(IMAGES)])
    assert np.isfinite(coordinates).all()
    vectors = np.array(mapped.query("SELECT v::real[] FROM embedding_e JOIN image USING (image_id) ORDER BY uri::int"))
    # 1 where the map's neighbours are neighbours (Venna and Kaski 2001); a random layout has about 0.5
    assert trustworthiness(vectors[:, 0].tolist(), coordinates, n_neighbors=10) > 0.9
    nearest = NearestNeighbors(n_neighbors=6).fit(coordinates).kneighbors(return_distance=False)
    assert (nearest % 6 == np.arange(IMAGES)[:, None] % 6).mean() > 0.99


@pytest.mark.parametrize("method", ["tsne", "pacmap"])
def test_the_same_seed_gives_the_same_map_and_another_one_differs(
    mapped: medcbir.Database, method: layout.Method
) -> None:
    first, again, other = (
        points(mapped, mapped.map(encoder="e", method=method, limit=60, seed=seed).projection_id) for seed in (1, 1, 2)
    )
    assert first == again
    assert len(first) == len(other) == 60
    assert first.keys() != other.keys()


def test_a_choice_of_images_and_what_the_view_says_of_them(mapped: medcbir.Database) -> None:
    made = mapped.map(encoder="e", where=Filter(modality="CT", dataset="set 0"))
    assert made.images == 40
    assert dict(made.filter) == {"dataset": "set 0", "modality": "CT"}
    rows = mapped.query(
        "SELECT uri::int, v.modality, v.region, v.finding, v.label, v.kind, v.dataset, v.split "
        "FROM projection_image AS v JOIN image USING (image_id) WHERE projection_id = %(id)s ORDER BY 1",
        {"id": made.projection_id},
    )
    assert [row[0] for row in rows] == [number for number in range(IMAGES) if number % 6 == 0]
    for number, *shown in rows:
        label = (None,) * 4 if number % 10 == 0 else ("chest", "finding 0", "CT/chest/finding 0", "pathology")
        assert shown == ["CT", *label, "set 0", "train"]
    (stored,) = mapped.query(
        "SELECT name, method, seed, filter, image_count, parameters->>'perplexity' FROM projection"
    )
    assert stored == ("e-tsne-1", "tsne", 0, {"dataset": "set 0", "modality": "CT"}, 40, "13.0")


def test_maps_go_with_their_images_and_at_once(mapped: medcbir.Database) -> None:
    first, second = (mapped.map(encoder="e", method="pacmap", limit=20, seed=seed) for seed in (0, 1))
    (gone,) = points(mapped, first.projection_id).keys() & {min(points(mapped, first.projection_id))}
    with mapped._open() as connection:
        connection.execute("DELETE FROM image WHERE uri = %s", (str(gone),))
        assert len(points(mapped, first.projection_id)) == 19
        connection.execute("SELECT drop_projection(%s)", (first.projection_id,))
    assert points(mapped, first.projection_id) == {}
    assert len(points(mapped, second.projection_id)) >= 19
    assert mapped.query("SELECT projection_id FROM projection") == [(second.projection_id,)]
    assert mapped.query("SELECT to_regclass('projection_point_1')") == [(None,)]


def test_images_deleted_while_the_map_is_made_are_left_out(
    mapped: medcbir.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(found: layout.Floats, *_: object) -> layout.Layout:
        mapped.query("DELETE FROM image WHERE uri IN ('3', '4') RETURNING 1")
        return found[:, :2], {}

    monkeypatch.setitem(layout.METHODS, "tsne", slow)
    made = mapped.map(encoder="e")
    assert made.images == len(points(mapped, made.projection_id)) == IMAGES - 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "umap"}, InputError, "unknown method 'umap'"),
        ({"limit": 4}, InputError, "a map needs 5 images or more, not a limit of 4"),
        ({"seed": -1}, InputError, "a seed must be 0 or more"),
        ({"perplexity": 0.5}, InputError, "the perplexity must be between 1 and 1000"),
        ({"perplexity": 9, "method": "pacmap"}, InputError, "pacmap has none"),
        ({"where": Filter(modality="US")}, RunError, r"0 images \(modality US\) have a vector of encoder e"),
    ],
)
def test_unusable_wishes_are_told(
    mapped: medcbir.Database, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mapped.map(encoder="e", **options)  # type: ignore[arg-type]
    assert mapped.query("SELECT count(*) FROM projection") == [(0,)]


def test_a_name_is_used_once(mapped: medcbir.Database) -> None:
    assert mapped.map(encoder="e", method="pacmap", limit=20, name="figure 5").name == "figure 5"
    with pytest.raises(InputError, match="a map named 'figure 5' exists"):
        mapped.map(encoder="e", name="figure 5")


@pytest.mark.parametrize("count", [5, 6, 20])
@pytest.mark.parametrize("method", ["tsne", "pacmap"])
def test_few_images_have_a_map(db: medcbir.Database, tmp_path: Path, method: layout.Method, count: int) -> None:
    (tmp_path / "m.csv").write_text("uri\n" + "\n".join(map(str, range(count))) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    vectors = default_rng(0).normal(size=(count, 3))
    vectors[1:4] = vectors[0]
    np.savez(tmp_path / "v.npz", uri=np.arange(count).astype(str), vector=vectors)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    found = points(db, db.map(encoder="e", method=method).projection_id)
    assert np.isfinite(list(found.values())).all()
    assert len(found) == count
    np.savez(tmp_path / "w.npz", uri=np.arange(count).astype(str), vector=np.ones((count, 3)))
    db.import_vectors(tmp_path / "w.npz", encoder="alike")
    with pytest.raises(RunError, match=f"all {count} vectors are equal"):
        db.map(encoder="alike", method=method)


def test_principal_components_are_scikit_learns_whatever_the_blocks() -> None:
    rng = default_rng(4)
    vectors = (rng.normal(size=(3000, 80)) * np.linspace(1, 4, 80) + 3).astype(np.float32)

    def blocks() -> Iterator[layout.Floats]:
        for start, end in pairwise([0, 1, 1200, 3000]):
            yield vectors[start:end]

    found, share = principal_components(blocks)
    theirs = PCA(n_components=layout.COMPONENTS).fit(vectors.astype(np.float64))
    assert share == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-5)
    np.testing.assert_allclose(found.var(axis=0, ddof=1), theirs.explained_variance_, rtol=1e-3)
    np.testing.assert_allclose(np.abs(found[:, 0]), np.abs(theirs.transform(vectors)[:, 0]), atol=0.1)


def test_neighbours_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = default_rng(5)
    rows = (rng.normal(size=(40, 12))[rng.integers(0, 40, 4000)] + 0.2 * rng.normal(size=(4000, 12))).astype(np.float32)
    distances, wanted = NearestNeighbors(n_neighbors=10).fit(rows).kneighbors()
    found, measured = nearest_neighbours(rows, 10)
    np.testing.assert_allclose(measured, distances, atol=2e-3)
    assert (np.sort(found) == np.sort(wanted)).mean() > 0.999
    monkeypatch.setattr(layout, "_EXACT", 3000)
    approximate, _ = nearest_neighbours(rows, 10)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(approximate, wanted, strict=True)]
    assert np.mean(shared) > 9.9


def test_no_point_is_its_own_neighbour_among_equals() -> None:
    found, distances = nearest_neighbours(np.ones((30, 4), np.float32), 3)
    assert (found != np.arange(30)[:, None]).all()
    assert not distances.any()


def test_ctrl_c_waits_for_the_end_of_some_iterations() -> None:
    """openTSNE's trees crash where an exception comes into their midst."""
    told: list[str] = []

    class Pressed(Silent):
        def begin(self, stage: str, unit: str, total: int | None) -> None:
            told.append(stage)

        def advance(self, items: int) -> None:
            if told[-1] == "t-SNE":
                signal.raise_signal(signal.SIGINT)
                told.append("t-SNE")

    with pytest.raises(KeyboardInterrupt):
        layout.tsne(default_rng(0).normal(size=(40, 5)).astype(np.float32), 0, None, Pressed())
    assert told == ["find neighbours", "t-SNE", "t-SNE"]  # the report in which it was pressed is the last
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("method", ["tsne", "pacmap"])
def test_of_many_images_a_sample_is_laid_out_and_the_others_are_placed_by_it(
    mapped: medcbir.Database, monkeypatch: pytest.MonkeyPatch, method: layout.Method
) -> None:
    monkeypatch.setattr(layout, "LANDMARKS", 90)
    monkeypatch.setattr(layout, "_BLOCK", 64)
    made = mapped.map(encoder="e", method=method, seed=2)
    assert made.parameters["landmarks"] == 90
    found = points(mapped, made.projection_id)
    assert points(mapped, mapped.map(encoder="e", method=method, seed=2).projection_id) == found
    coordinates = np.array([found[number] for number in range(IMAGES)])
    vectors = np.array(mapped.query("SELECT v::real[] FROM embedding_e JOIN image USING (image_id) ORDER BY uri::int"))
    assert trustworthiness(vectors[:, 0].tolist(), coordinates, n_neighbors=10) > 0.9
    nearest = NearestNeighbors(n_neighbors=6).fit(coordinates).kneighbors(return_distance=False)
    assert (nearest % 6 == np.arange(IMAGES)[:, None] % 6).mean() > 0.99
    assert "landmarks" not in mapped.map(encoder="e", method=method, limit=90).parameters


def test_a_placed_image_lies_at_the_median_of_its_nearest_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = default_rng(6).normal(size=(60, 4)).astype(np.float32)

    def laid(given: layout.Floats, *_: object) -> layout.Layout:
        return given[:, :2], {}

    monkeypatch.setattr(layout, "LANDMARKS", 20)
    monkeypatch.setitem(layout.METHODS, "tsne", laid)
    coordinates, _ = layout.lay_out(rows, "tsne", 7, None, Silent())
    chosen = (coordinates == rows[:, :2]).all(axis=1)
    assert chosen.sum() == 20
    nearest = NearestNeighbors(n_neighbors=10).fit(rows[chosen]).kneighbors(rows[~chosen], return_distance=False)
    np.testing.assert_allclose(coordinates[~chosen], np.median(rows[chosen][nearest][..., :2], axis=1), rtol=1e-6)


def test_the_command(mapped: medcbir.Database, run_medcbir: Callable[..., CompletedProcess[str]]) -> None:
    options = ["--encoder", "e", "--modality", "CT", "--limit", 30, "--dataset", "set 0", "--dataset", "set 2"]
    options += ["--database-url", mapped.conninfo]
    done = run_medcbir("map", *options)
    assert done.returncode == 0, done.stderr
    assert "Map e-tsne-1: 30 images by tsne" in done.stdout
    assert mapped.query("SELECT DISTINCT dataset, modality FROM projection_image ORDER BY 1") == [
        ("set 0", "CT"),
        ("set 2", "CT"),
    ]
    done = run_medcbir("map", *options, "--method", "umap")
    assert done.returncode == 2
