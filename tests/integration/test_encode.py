"""Rows to vectors by the real default encoder: equal to what it gives by itself, failures recorded and tried again."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import psycopg
import pydicom
import pytest
from PIL import Image

import medcbir
from medcbir.encoders import Encoder, get_spec, load_encoder, prepare
from medcbir.errors import DatabaseError, EncoderError, InputError
from medcbir.pixels import open_image

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SPEC = get_spec("efficientnet_lite0")

DrawImages = Callable[..., list[Path]]
RunMedcbir = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(SPEC, weights_dir=tmp_path_factory.mktemp("weights"), device="cpu")


@pytest.fixture
def folder(tmp_path: Path, draw_images: DrawImages) -> Path:
    """Eight PNGs, two of them of 16 bits, and three DICOM files, one of which has 30 frames."""
    images = tmp_path / "images"
    draw_images(images, 8)
    for name in ("CT_small.dcm", "examples_ybr_color.dcm", "SC_rgb_rle.dcm"):
        shutil.copy(TEST_FILES / name, images)
    return images


@pytest.fixture
def ingested(database_url: str, folder: Path, tmp_path: Path) -> Iterator[medcbir.Database]:
    with medcbir.connect(database_url, data_dir=tmp_path / "data") as db:
        db.ingest(folder, encode=False)
        yield db


def test_stored_vectors_are_those_that_the_encoder_gives_by_itself(
    ingested: medcbir.Database, encoder: Encoder
) -> None:
    report = ingested.encode(device="cpu", batch_size=5)
    assert (report.encoded, report.failed, report.remaining) == (8 + 1 + 30 + 1, 0, 0)
    rows = ingested.query(
        "SELECT i.path, i.frame, v.efficientnet_lite0::real[] FROM image AS i JOIN image_vectors AS v USING (image_id)"
    )
    assert len(rows) == 40
    for path, frame, stored in rows:
        [own] = encoder.encode(prepare(open_image(Path(path)).frame(frame), SPEC.pixels)[None])
        np.testing.assert_allclose(np.array(stored), own, rtol=0, atol=1e-6, err_msg=f"{path} {frame}")
        assert abs(np.linalg.norm(np.array(stored, dtype=np.float64)) - 1) < 1e-6


def test_the_encoder_is_stored_with_its_whole_recipe(ingested: medcbir.Database, encoder: Encoder) -> None:
    ingested.encode(device="cpu")
    [(name, dim, recipe, digest, imported)] = ingested.query(
        "SELECT name, dim, recipe, encode(checkpoint_sha256, 'hex'), imported FROM encoder"
    )
    assert (name, dim, imported) == ("efficientnet_lite0", 1280, False)
    assert digest == SPEC.checkpoint.sha256
    assert recipe == encoder.recipe


def test_encoding_again_does_nothing(ingested: medcbir.Database) -> None:
    ingested.encode(device="cpu")
    before = ingested.query("SELECT image_id, v::text FROM embedding ORDER BY 1")
    report = ingested.encode(device="cpu")
    assert (report.encoded, report.failed, report.remaining) == (0, 0, 0)
    assert ingested.query("SELECT image_id, v::text FROM embedding ORDER BY 1") == before


def test_a_file_that_is_away_is_recorded_and_encoded_when_it_is_back(
    ingested: medcbir.Database, folder: Path, tmp_path: Path, run_medcbir: RunMedcbir
) -> None:
    away = folder / "0002.png"
    away.rename(tmp_path / "away.png")
    arguments = ("encode", "--database-url", ingested.conninfo)
    done = run_medcbir(*arguments)
    assert done.returncode == 3, done.stderr
    assert "39 images encoded" in done.stdout
    assert "1 failed, 1 remaining" in done.stdout
    failures = "SELECT stage, dataset, uri, frame, kind, reason FROM rejected"
    assert ingested.query(failures) == [
        ("encode", "images", str(away), 0, "unreadable", "cannot be opened: No such file or directory")
    ]
    assert ingested.query("SELECT count(*) FROM encode_claim") == [(0,)]

    (tmp_path / "away.png").rename(away)
    done = run_medcbir(*arguments)
    assert done.returncode == 0, done.stderr
    assert "1 images encoded" in done.stdout
    assert "0 failed, 0 remaining" in done.stdout
    assert ingested.query(failures) == []
    assert ingested.query("SELECT count(*) FROM embedding") == [(40,)]


def test_a_file_that_has_changed_since_ingest_is_refused_until_it_is_ingested_again(
    ingested: medcbir.Database, folder: Path
) -> None:
    changed = folder / "0001.png"
    Image.fromarray(np.eye(50, dtype=np.uint8) * 200).save(changed)
    report = ingested.encode(device="cpu")
    assert (report.encoded, report.failed, report.remaining) == (39, 1, 1)
    assert ingested.query("SELECT uri, reason FROM rejected") == [
        (str(changed), "the file has changed since it was catalogued; run `medcbir ingest` on it again")
    ]
    assert ingested.ingest(folder, encode=False).updated == 1
    report = ingested.encode(device="cpu")
    assert (report.encoded, report.failed, report.remaining) == (1, 0, 0)
    assert ingested.query("SELECT * FROM rejected") == []


def test_one_frame_of_a_file_can_fail_alone(ingested: medcbir.Database) -> None:
    ingested.query("UPDATE image SET pixel_sha256 = '\\x00' WHERE uri LIKE '%ybr_color.dcm' AND frame = 7 RETURNING 1")
    report = ingested.encode(device="cpu")
    assert (report.encoded, report.failed) == (39, 1)
    assert ingested.query("SELECT frame FROM rejected") == [(7,)]


def test_only_the_images_of_a_dataset_are_encoded_on_demand(
    ingested: medcbir.Database, tmp_path: Path, draw_images: DrawImages
) -> None:
    others = draw_images(tmp_path / "others", 3, seed=9)
    ingested.ingest(tmp_path / "others", encode=False)
    others[0].unlink()
    report = ingested.encode(device="cpu", dataset="others")
    assert (report.encoded, report.failed, report.remaining) == (2, 1, 1)
    ingested.encode(device="cpu", dataset="images")
    assert ingested.query("SELECT dataset, uri FROM rejected") == [("others", str(others[0]))]  # still true, still told
    assert ingested.query("SELECT count(*) FROM embedding") == [(42,)]


def test_an_image_without_file_is_left_alone(db: medcbir.Database, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri\nelsewhere.png\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    report = db.encode(device="cpu")
    assert (report.encoded, report.failed, report.remaining) == (0, 0, 0)


def test_a_dataset_that_is_not_there_is_refused_with_those_that_are(ingested: medcbir.Database) -> None:
    with pytest.raises(InputError, match="no dataset 'imgaes' in the catalogue: there are images"):
        ingested.encode(device="cpu", dataset="imgaes")


def test_claims_of_a_dead_worker_are_taken_over_and_those_of_a_living_one_are_not(
    ingested: medcbir.Database,
) -> None:
    ingested.query("INSERT INTO dataset (name) VALUES ('empty') RETURNING name")
    ingested.encode(device="cpu", dataset="empty")  # adds the encoder
    claim = "INSERT INTO encode_claim SELECT e.encoder_id, i.image_id, {} FROM encoder AS e, image AS i WHERE {}"
    with psycopg.connect(ingested.conninfo, autocommit=True, options="-c search_path=medcbir") as living:
        living.execute("SELECT pg_advisory_lock(%s, 77)", (0x6D656463,))
        living.execute(claim.format(77, "i.uri LIKE '%0001.png'").encode())
        living.execute(claim.format(78, "i.uri LIKE '%0002.png'").encode())
        report = ingested.encode(device="cpu")
        assert (report.encoded, report.remaining) == (39, 1)
        assert ingested.query("SELECT worker FROM encode_claim") == [(77,)]
    report = ingested.encode(device="cpu")
    assert (report.encoded, report.remaining) == (1, 0)


def test_an_image_that_is_removed_while_it_is_encoded_is_let_go(ingested: medcbir.Database, folder: Path) -> None:
    """Its row goes between claim and write: here once other images have been counted."""

    class RemoveOne:
        def begin(self, stage: str, unit: str, total: int | None) -> None: ...
        def note(self, text: str) -> None: ...
        def advance(self, items: int) -> None:
            with psycopg.connect(ingested.conninfo, autocommit=True) as other:
                other.execute("DELETE FROM medcbir.image WHERE uri LIKE '%ybr_color.dcm' AND frame = 29")

    report = ingested.encode(device="cpu", batch_size=4, progress=RemoveOne())
    assert (report.encoded, report.failed, report.remaining) == (39, 0, 0)


def test_a_server_that_goes_away_is_one_clear_error_and_the_next_call_goes_on(ingested: medcbir.Database) -> None:
    class CutOff:
        def begin(self, stage: str, unit: str, total: int | None) -> None: ...
        def note(self, text: str) -> None: ...
        def advance(self, items: int) -> None:
            with psycopg.connect(ingested.conninfo, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    with pytest.raises(DatabaseError, match="the same command goes on"):
        ingested.encode(device="cpu", batch_size=4, progress=CutOff())
    with medcbir.connect(ingested.conninfo) as again:
        done = again.query("SELECT count(*) FROM embedding")[0][0]
        report = again.encode(device="cpu", batch_size=4)
        assert done + report.encoded == 40
        assert report.remaining == 0
        assert again.query("SELECT count(*) FROM encode_claim") == [(0,)]


def test_what_cannot_be_done_is_said_before_anything_is_done(db: medcbir.Database, folder: Path) -> None:
    with pytest.raises(EncoderError, match=r"checkpoint not found: ResNet50 expects resnet50-0676ba61\.pth"):
        db.ingest(folder, encoder=["efficientnet_lite0", "resnet50"])
    assert db.query("SELECT count(*) FROM image") == [(0,)]
