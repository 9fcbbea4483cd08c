"""Vectors and runs in and out of the database as files: bit for bit, hostile ones refused, published ones to P@N."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ranx

import medcbir
from medcbir.errors import InputError, MedcbirError, VectorError
from medcbir.store import vector_files
from medcbir.store.vectors import unit

SIZE, DIM = 50, 6
FORMATS = [".npz", ".parquet", ".h5"]


def uri(number: int) -> str:
    return f"set/{number % 3}/ü {number}.png"


@pytest.fixture
def filled(db: medcbir.Database, tmp_path: Path) -> medcbir.Database:
    """Fifty images, without files, and their vectors by encoder `e`; the first ten are queries."""
    lines = ["uri,dataset,patient,split,modality,region,finding"]
    lines += [f"{uri(n)},d,,{'test' if n < 10 else 'train'},CT,chest,{'' if n == 3 else n % 4}" for n in range(SIZE)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    rows = np.random.default_rng(0).normal(size=(SIZE, DIM))
    np.savez(tmp_path / "v.npz", uri=np.array([uri(n) for n in range(SIZE)]), vector=rows)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    return db


def stored(db: medcbir.Database, encoder: str) -> dict[str, bytes]:
    return dict(
        db.query(f"SELECT i.uri, vector_send(b.v) FROM embedding_{encoder} AS b JOIN image AS i USING (image_id)")
    )


def content(file: Path) -> dict[str, list[float]]:
    """What another program reads from an exported file."""
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return {str(key): row.tolist() for key, row in zip(arrays["uri"], arrays["vector"], strict=True)}
    if file.suffix == ".parquet":
        table = pq.read_table(file).to_pydict()
        return dict(zip(table["uri"], table["vector"], strict=True))
    found: dict[str, list[float]] = {}
    with h5py.File(file) as opened:
        opened.visititems(lambda name, item: found.update({name: item[:].tolist()}) if hasattr(item, "shape") else None)
    return found


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_round_trip_gives_back_every_bit(
    filled: medcbir.Database, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "_BATCH", 16)  # several batches, and a last one that is not full
    monkeypatch.setattr("medcbir.store.exported._BATCH", 16)
    file = tmp_path / f"out{suffix}"
    assert filled.export_vectors(file, encoder="e") == SIZE
    exact = {key: np.frombuffer(sent[4:], ">f4").tolist() for key, sent in stored(filled, "e").items()}
    assert content(file) == exact
    report = filled.import_vectors(file, encoder="again")
    assert (report.added, report.unchanged, report.unknown, report.dim) == (SIZE, 0, 0, DIM)
    assert stored(filled, "again") == stored(filled, "e")
    assert filled.import_vectors(file, encoder="again").unchanged == SIZE
    assert filled.export_vectors(file, encoder="e", dataset="d", split="test") == 10
    assert len(content(file)) == 10
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_frames_of_one_uri_make_the_round_trip(db: medcbir.Database, tmp_path: Path, suffix: str) -> None:
    db.query("INSERT INTO dataset (name) VALUES ('d') RETURNING 1")
    db.query(
        "INSERT INTO image (dataset_id, uri, frame) SELECT 1, 'cine.dcm', g FROM generate_series(0, 3) AS g RETURNING 1"
    )
    rows = np.eye(4, 5) + 0.1
    np.savez(tmp_path / "v.npz", uri=np.array(["cine.dcm"] * 4), frame=np.arange(4), vector=rows)
    db.import_vectors(tmp_path / "v.npz", encoder="e")
    db.export_vectors(tmp_path / f"out{suffix}", encoder="e")
    assert db.import_vectors(tmp_path / f"out{suffix}", encoder="again").added == 4
    different = "SELECT count(*) FROM embedding_e AS a JOIN embedding_again AS b USING (image_id) WHERE a.v <> b.v"
    assert db.query(different) == [(0,)]
    with pytest.raises(InputError, match=r"uris have several frames: write \.npz or \.parquet"):
        db.export_vectors(tmp_path / "out.h5", encoder="e")
    assert not list(tmp_path.glob("*out.h5*"))


def test_unit_vectors_stay_as_they_are_and_others_become_so() -> None:
    once = unit(np.random.default_rng(1).normal(size=(2000, 512)))
    np.testing.assert_array_equal(unit(once), once)
    np.testing.assert_array_equal(np.abs(np.linalg.norm(unit(once * 3).astype(np.float64), axis=1) - 1) < 1e-7, True)


def npz(file: Path, **arrays: Any) -> None:
    with file.open("wb") as out:
        np.savez(out, **arrays)


def table(file: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), file)


def hdf5(file: Path, fill: Callable[[h5py.File], object]) -> None:
    with h5py.File(file, "w") as out:
        fill(out)


def external(file: Path) -> None:
    """A dataset whose numbers are another file's bytes."""
    hdf5(file, lambda out: out.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)]))


def virtual(file: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (4,))
    hdf5(file, lambda out: out.create_virtual_dataset("a", layout))


def cycle(file: Path) -> None:
    def fill(out: h5py.File) -> None:
        out.create_group("g")["self"] = out["/"]

    hdf5(file, fill)


ONES = [[1.0, 0.0]]
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "objects in npz": (lambda f: npz(f, uri=np.array(["a"], object), vector=ONES), "it holds Python objects"),
    "text vectors": (lambda f: npz(f, uri=["a"], vector=[["1"]]), "must be numbers"),
    "complex vectors": (lambda f: npz(f, uri=["a"], vector=[[1j]]), "must be numbers"),
    "numbers as uri": (lambda f: npz(f, uri=[1], vector=ONES), "must be one-dimensional text"),
    "NaN": (lambda f: npz(f, uri=["a"], vector=[[np.nan, 1.0]]), "not finite"),
    "zero vector": (lambda f: table(f, uri=["a"], vector=[[0.0, 0.0]]), "zero"),
    "uri twice": (lambda f: table(f, uri=["a", "a"], vector=ONES * 2), "a occurs more than once"),
    "no rows": (
        lambda f: table(f, uri=pa.array([], pa.string()), vector=pa.array([], pa.list_(pa.float32()))),
        "no vec",
    ),
    "text column": (lambda f: table(f, uri=["a"], vector=["[1,0]"]), "must be a list of numbers"),
    "booleans": (lambda f: table(f, uri=["a"], vector=[[True]]), "must be a list of numbers"),
    "ragged": (lambda f: table(f, uri=["a", "b"], vector=[[1.0], [1.0, 2.0]]), "vectors of 1 and of 2 dimensions"),
    "null vector": (lambda f: table(f, uri=["a"], vector=pa.array([None], pa.list_(pa.float32()))), "without a value"),
    "null inside": (lambda f: table(f, uri=["a"], vector=[[1.0, None]]), "without a value"),
    "no column": (lambda f: table(f, uri=["a"]), "lacks column vector"),
    "empty vector": (lambda f: table(f, uri=["a"], vector=pa.array([[]], pa.list_(pa.float32()))), "must be numbers"),
    "cut Parquet": (lambda f: f.write_bytes(b"PAR1 and no more"), "damaged"),
    "cut HDF5": (lambda f: f.write_bytes(b"\x89HDF\r\n\x1a\nno more"), "damaged"),
    "cut npz": (lambda f: f.write_bytes(b"PK\3\4 and no more"), "damaged"),
    "another file": (lambda f: f.write_text("uri,vector\n"), "no .npz file of numpy, no Parquet and no HDF5"),
    "soft link": (lambda f: hdf5(f, lambda out: out.update({"x/a": h5py.SoftLink("/b")})), "x/a is a link"),
    "external link": (lambda f: hdf5(f, lambda out: out.update({"a": h5py.ExternalLink("o.h5", "/a")})), "a is a link"),
    "external numbers": (external, "keeps its numbers in another file"),
    "virtual numbers": (virtual, "keeps its numbers in another file"),
    "cycle of groups": (cycle, "is linked to twice"),
    "two-dimensional": (lambda f: hdf5(f, lambda out: out.update({"a": np.eye(2)})), "must be numbers of shape"),
    "strings in HDF5": (lambda f: hdf5(f, lambda out: out.update({"a": ["x"]})), "must be numbers of shape"),
    "huge and empty": (lambda f: hdf5(f, lambda out: out.create_dataset("a", (10**12,), "f4")), "dim up to 16000"),
    "other dimensions": (
        lambda f: hdf5(f, lambda out: out.update({"a": np.ones(2), "b": np.ones(3)})),
        "vectors of 2 and of 3 dimensions",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_a_line_and_stores_nothing(
    case: str, clone: Callable[..., str], tmp_path: Path, hostile_db: medcbir.Database
) -> None:
    make, said = HOSTILE[case]
    make(tmp_path / "file")
    with pytest.raises(MedcbirError, match=said) as told:
        hostile_db.import_vectors(tmp_path / "file", encoder="e")
    assert isinstance(told.value, InputError | VectorError)
    assert "\n" not in str(told.value)
    assert hostile_db.query("SELECT count(*) FROM encoder") == [(0,)]


@pytest.fixture(scope="module")
def hostile_db(clone: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    with medcbir.connect(clone(), data_dir=tmp_path_factory.mktemp("data")) as opened:
        opened.query("INSERT INTO dataset (name) VALUES ('d') RETURNING 1")
        opened.query("INSERT INTO image (dataset_id, uri) VALUES (1, 'a'), (1, 'b') RETURNING 1")
        yield opened


def test_unknown_uris_are_counted_and_listed(filled: medcbir.Database, tmp_path: Path) -> None:
    names = ["nobody/1", uri(0), "nobody/2", uri(1)]
    hdf5(tmp_path / "v.h5", lambda out: out.update({name: np.arange(1.0, 4.0) for name in names}))
    report = filled.import_vectors(tmp_path / "v.h5", encoder="other")
    assert (report.added, report.unknown, set(report.unknown_uris)) == (2, 2, {"nobody/1", "nobody/2"})


def test_a_uri_in_two_batches_is_refused(
    filled: medcbir.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "_BATCH", 4)
    table(tmp_path / "v.parquet", uri=[uri(n) for n in (*range(6), 0)], vector=[[1.0, n] for n in range(7)])
    with pytest.raises(InputError, match="occurs more than once"):
        filled.import_vectors(tmp_path / "v.parquet", encoder="other")
    assert filled.query("SELECT name FROM encoder") == [("e",)]


def test_an_export_that_cannot_be_is_told_and_leaves_the_old_file(filled: medcbir.Database, tmp_path: Path) -> None:
    (tmp_path / "old.h5").write_text("old")
    filled.query("UPDATE image SET uri = '/absolute' WHERE uri = %(uri)s RETURNING 1", {"uri": uri(7)})
    with pytest.raises(InputError, match="HDF5 cannot keep /absolute"):
        filled.export_vectors(tmp_path / "old.h5", encoder="e")
    assert (tmp_path / "old.h5").read_text() == "old"
    for file, said in (("v.txt", "cannot tell the format"), ("none/v.npz", "cannot write")):
        with pytest.raises(InputError, match=said):
            filled.export_vectors(tmp_path / file, encoder="e")
    with pytest.raises(InputError, match="no image of this choice"):
        filled.export_vectors(tmp_path / "v.npz", encoder="e", split="val")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(("module", "file"), [("h5py", "v.h5"), ("pyarrow", "v.parquet")])
def test_a_missing_package_is_named(filled: medcbir.Database, tmp_path: Path, module: str, file: str) -> None:
    filled.export_vectors(tmp_path / file, encoder="e")
    code = (
        f"import sys; sys.modules[{module!r}] = None\nfrom pathlib import Path\n"
        f"from medcbir.store.vector_files import read_vectors\nlist(read_vectors(Path({str(tmp_path / file)!r})))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert "pip install 'medcbir[bench]'" in told


def test_a_run_reads_as_trec_files_parquet_and_knn_csv(filled: medcbir.Database, tmp_path: Path) -> None:
    run = filled.retrieve(encoder="e", n=5, name="r1")
    hits = filled.query(
        "SELECT h.query_id, q.uri, h.rank, h.image_id, i.uri, h.distance, qc.label_id = ic.label_id FROM hit AS h "
        "JOIN image AS q ON q.image_id = h.query_id JOIN image AS i ON i.image_id = h.image_id "
        "LEFT JOIN image_class AS qc ON qc.image_id = h.query_id "
        "LEFT JOIN image_class AS ic ON ic.image_id = h.image_id "
        "ORDER BY h.query_id, h.rank"
    )
    filled.export_run("r1", tmp_path / "r.parquet")
    read = pq.read_table(tmp_path / "r.parquet")
    assert read.column_names == ["query_id", "query_uri", "rank", "image_id", "hit_uri", "distance", "relevant"]
    assert [tuple(row.values()) for row in read.to_pylist()] == hits

    filled.export_run(run, tmp_path / "knn.csv")
    header, *rows = (tmp_path / "knn.csv").read_text().splitlines()
    assert header == "query,1,2,3,4,5"
    assert [row.split(",") for row in rows] == [
        [uri(n), *(hit for _, query, _, _, hit, _, _ in hits if query == uri(n))] for n in range(10)
    ]

    files = filled.export_run(None, tmp_path / "r.trec")
    assert files == [tmp_path / "r.trec", tmp_path / "r.qrels"]
    judged = ranx.Qrels.from_file(str(files[1]), kind="trec")
    ranked = ranx.Run.from_file(str(files[0]), kind="trec")
    assert ranked.name == "r1"
    ours = {m.n: m.value for m in filled.evaluate(run) if (m.average, m.definition) == ("micro", "paper")}
    for n in (1, 3, 5):
        assert ranx.evaluate(judged, ranked, f"precision@{n}") == pytest.approx(ours[n], abs=1e-12)
    with pytest.raises(InputError, match=r"cannot tell the format of r\.txt"):
        filled.export_run(run, tmp_path / "r.txt")


def test_the_published_files_lead_to_p_at_n(db: medcbir.Database, tmp_path: Path, run_medcbir: Any) -> None:
    """A miniature of Zenodo record 11196400: one-hot tables of two datasets, a group per folder, and its knn.csv."""
    rng = np.random.default_rng(5)
    labels = ["XR/chest/No Finding", "XR/chest/Cardiomegaly", "CT/lung/nodule"]
    split, of, vectors = {}, {}, {}
    for dataset, classes in (("nih14", labels[:2]), ("radiology_ai", labels[2:])):
        lines = ["filepath,dataset,split,modality,anatomic_region," + ",".join(classes)]
        with h5py.File(tmp_path / f"{dataset}.h5", "w") as out:
            for number in range(40):
                path, truth = f"{dataset}/images_{number % 4:03d}/{number}.png", classes[number % len(classes)]
                split[path] = ("train", "train", "val", "test")[number % 5 % 4]
                of[path], vector = truth, rng.normal(size=16)
                vectors[path] = (vector / np.linalg.norm(vector)).astype(np.float32)
                out[path] = vectors[path]
                modality, region, _ = truth.split("/")
                marks = ",".join(str(int(truth == each)) for each in classes)
                lines.append(f"{path},{dataset},{split[path]},{modality},{region},{marks}")
        (tmp_path / f"{dataset}.csv").write_text("\n".join(lines) + "\n")
    place = {"DATABASE_URL": db.conninfo, "MEDCBIR_DATA_DIR": tmp_path / "data"}
    for dataset in ("nih14", "radiology_ai"):
        assert run_medcbir("ingest", tmp_path / f"{dataset}.csv", "--metadata-only", **place).returncode == 0
        done = run_medcbir("vectors", "import", tmp_path / f"{dataset}.h5", "--encoder", "biomed", **place)
        assert done.returncode == 0, done.stderr
        assert "40 vectors of 16 dimensions added" in done.stdout
    run = db.retrieve(encoder="biomed", n=10, queries="test", index="train")
    assert run_medcbir("runs", "export", run.name, tmp_path / "knn.csv", **place).returncode == 0

    index = [path for path in split if split[path] == "train"]
    stacked = np.stack([vectors[path] for path in index]).astype(np.float64)
    neighbours = {
        path: [index[at] for at in np.argsort(-stacked @ vectors[path].astype(np.float64))[:10]]
        for path in split
        if split[path] == "test"
    }
    rows = [row.split(",") for row in (tmp_path / "knn.csv").read_text().splitlines()]
    assert rows[0] == ["query", *map(str, range(1, 11))]
    assert {row[0]: row[1:] for row in rows[1:]} == neighbours
    found = {m.n: m.value for m in db.evaluate(run) if (m.average, m.definition) == ("micro", "paper")}
    for n in (1, 3, 5, 10):
        expected = np.mean([[of[hit] == of[query] for hit in hits[:n]] for query, hits in neighbours.items()])
        assert found[n] == pytest.approx(expected, abs=1e-12)
    stored_rows = db.query("SELECT i.uri, vector_send(b.v) FROM embedding_biomed AS b JOIN image AS i USING (image_id)")
    worst = max(np.abs(np.frombuffer(sent[4:], ">f4") - vectors[path]).max() for path, sent in stored_rows)
    assert worst <= 2**-24
