"""`medcbir.connect()` and what it opens, as a user's script would use it."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

import medcbir
from medcbir.errors import DatabaseError, EncoderError, InputError, RunError, VectorError
from medcbir.types import Filter, Metric, Run

DrawImages = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, draw_images: DrawImages) -> Path:
    images = tmp_path_factory.mktemp("images")
    draw_images(images, 12, folders=("train/CT/chest/nodule", "train/MR/brain", "test/CT/chest/nodule"))
    return images


@pytest.fixture(scope="module")
def filled(
    clone: Callable[..., str], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[medcbir.Database]:
    with medcbir.connect(clone(), data_dir=tmp_path_factory.mktemp("data")) as db:
        report = db.ingest(folder, device="cpu")
        assert report.added == 12
        assert [(each.encoder, each.encoded) for each in report.encoded] == [("efficientnet_lite0", 12)]
        yield db


def vectors(db: medcbir.Database) -> tuple[list[int], np.ndarray]:
    rows = db.query("SELECT image_id, v::real[] FROM embedding ORDER BY image_id")
    return [row[0] for row in rows], np.array([row[1] for row in rows], dtype=np.float64)


def test_the_four_kinds_of_query_agree(filled: medcbir.Database) -> None:
    ids, stored = vectors(filled)
    file = Path(filled.query("SELECT path FROM image WHERE image_id = %(id)s", {"id": ids[5]})[0][0])
    order = [ids[at] for at in np.argsort(1 - stored @ stored[5], kind="stable")]
    assert order[0] == ids[5]
    by_vector = filled.search(vector=stored[5] * 7.5, n=12)  # its length does not matter
    by_path = filled.search(image=file, n=12)
    by_name = filled.search(image=str(file), n=12)
    by_pixels = filled.search(image=filled.read_image(file), n=12)
    by_id = filled.search(image_id=ids[5], n=12)
    for hits in (by_vector, by_path, by_name, by_pixels):
        assert [hit.image_id for hit in hits] == order
        assert hits[0].similarity == pytest.approx(1, abs=1e-6)
    assert [hit.image_id for hit in by_id] == order[1:]
    assert by_id[0].rank == 1
    assert isinstance(by_id[0].findings, tuple)


def test_a_filter_keeps_its_images(filled: medcbir.Database) -> None:
    hits = filled.search(image_id=1, n=12, where=Filter(modality="MR", split="train"))
    assert len(hits) == 4
    assert {(hit.modality, hit.split) for hit in hits} == {("MR", "train")}


def test_a_run_is_retrieved_found_and_evaluated(filled: medcbir.Database) -> None:
    run = filled.retrieve(n=3, name="python")
    assert isinstance(run, Run)
    assert (run.name, run.queries, run.index, run.n) == ("python", 4, 8, 3)
    assert run.seconds > 0
    assert filled.run("python") == filled.run() == run
    metrics = filled.evaluate(run)
    assert all(isinstance(metric, Metric) for metric in metrics)
    assert metrics == filled.evaluate("python") == filled.evaluate()
    assert {metric.n for metric in metrics} == {1, 3}
    unnamed = filled.retrieve(n=1, queries=None, index=Filter(modality="CT"))
    assert unnamed.name == f"efficientnet_lite0-{unnamed.run_id}"
    assert (unnamed.queries, unnamed.index) == (12, 8)


def test_vectors_are_imported_and_searched(filled: medcbir.Database, tmp_path: Path) -> None:
    uris = [uri for (uri,) in filled.query("SELECT uri FROM image ORDER BY uri")]
    given = np.random.default_rng(1).normal(size=(12, 5))
    np.savez(tmp_path / "v.npz", uri=uris, vector=given)
    report = filled.import_vectors(tmp_path / "v.npz", encoder="other")
    assert (report.encoder, report.dim, report.added, report.unchanged, report.unknown) == ("other", 5, 12, 0, 0)
    assert filled.import_vectors(tmp_path / "v.npz", encoder="other").unchanged == 12
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    hits = filled.search(vector=given[2], encoder="other", n=4)
    assert [hit.uri for hit in hits] == [uris[at] for at in np.argsort(1 - unit @ unit[2])[:4]]
    with pytest.raises(EncoderError, match="were imported, so a new image cannot be encoded alike"):
        filled.search(image=uris[0], encoder="other")
    np.savez(tmp_path / "v.npz", uri=uris, vector=-given)
    with pytest.raises(EncoderError, match="has another vector of encoder other already"):
        filled.import_vectors(tmp_path / "v.npz", encoder="other")
    np.savez(tmp_path / "v.npz", uri=uris, vector=np.ones((12, 1280)))
    with pytest.raises(EncoderError, match="made here from its weights"):
        filled.import_vectors(tmp_path / "v.npz", encoder="efficientnet_lite0")


def test_mistakes_are_errors_of_their_kind(filled: medcbir.Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs one of"):
        filled.search()
    with pytest.raises(InputError, match="needs one of"):
        filled.search(image_id=1, vector=np.ones(1280))
    with pytest.raises(VectorError, match="has 1280 dimensions"):
        filled.search(vector=np.ones(3))
    for wrong in (np.zeros(1280), np.full(1280, np.nan)):
        with pytest.raises(VectorError):
            filled.search(vector=wrong)
    for wrong in (np.ones((2, 1280)), np.float32(1)):
        with pytest.raises(VectorError, match="must be one vector"):
            filled.search(vector=wrong)
    with pytest.raises(EncoderError, match="no vectors of encoder 'nobody'"):
        filled.search(image_id=1, encoder="nobody")
    with pytest.raises(RunError, match="no run 'nobody'"):
        filled.evaluate("nobody")
    with pytest.raises(RunError, match="no image for the queries"):
        filled.retrieve(queries=Filter(dataset="nothing"))
    with pytest.raises(InputError, match="unknown engine"):
        filled.retrieve(engine="magic")
    with pytest.raises(InputError, match="batch size"):
        filled.encode(batch_size=0)
    with pytest.raises(InputError, match="does not exist"):
        filled.ingest(tmp_path / "gone")
    with pytest.raises(DatabaseError, match="cannot connect"):
        medcbir.connect("postgresql://127.0.0.1:1/x").search(image_id=1)


def test_an_encoder_without_weights_tells_where_they_are_expected(filled: medcbir.Database) -> None:
    described = filled.encoder("biomedclip")
    assert not described["found"]
    with pytest.raises(EncoderError, match=f"expects {described['checkpoint']}"):
        filled.encode("biomedclip")
    assert {each["name"] for each in filled.encoders()} >= {"efficientnet_lite0", "biomedclip"}


def test_closing_gives_the_connection_back(database_url: str) -> None:
    with medcbir.connect(database_url) as db:
        db.query("SELECT 1")
        [(name,)] = db.query("SELECT current_database()")
    with psycopg.connect(database_url.replace(f"dbname={name}", "dbname=postgres")) as other:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state <> 'active'"
        assert other.execute(count, (name,)).fetchone() == (0,)
    assert db.query("SELECT 2") == [(2,)]  # opens it anew
    db.close()
    db.close()


def test_a_plain_script_without_a_guard_runs_once(database_url: str, folder: Path, tmp_path: Path) -> None:
    """Worker processes must not import the user's main module: it would ingest again, for ever."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import medcbir
            print("the script runs")
            db = medcbir.connect({database_url!r})
            report = db.ingest({str(folder)!r}, encode=False)
            print(report.added, "added")
        """)
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env=os.environ | {"MEDCBIR_DATA_DIR": str(tmp_path)},
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the script runs\n12 added\n"
    assert done.stderr == ""
