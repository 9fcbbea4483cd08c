"""A user's mistake: one line that names the thing, the reason and the next step; no traceback, no password."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from medcbir.store.binaries import binaries_for, server_binaries
from medcbir.store.cluster_user import cluster_user

ROOT = os.geteuid() == 0
RunMedcbir = Callable[..., CompletedProcess[str]]
Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def refuse(run_medcbir: RunMedcbir) -> Refuse:
    """Runs a command that must fail with one line on stderr, which it returns."""

    def run(*arguments: object, code: int = 1, **environment: object) -> str:
        done = run_medcbir(*arguments, **environment)
        lines = done.stderr.splitlines()
        assert done.returncode == code, done.stdout + done.stderr
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("Error: ")
        return lines[0].removeprefix("Error: ")

    return run


def test_paths_that_lead_nowhere(refuse: Refuse, filled: str, tmp_path: Path) -> None:
    at = ("--database-url", filled)
    assert refuse("ingest", tmp_path / "gone", *at) == f"{tmp_path}/gone does not exist"
    (tmp_path / "empty").mkdir()
    assert refuse("ingest", tmp_path / "empty", *at) == f"{tmp_path}/empty is an empty folder"
    assert refuse("search", "--image", tmp_path / "gone.png", *at) == f"no such file: {tmp_path}/gone.png"
    assert refuse("vectors", "import", tmp_path / "gone.npz", "--encoder", "e", *at) == (
        f"no such file: {tmp_path}/gone.npz"
    )


def test_an_error_is_one_json_object_on_demand(
    run_medcbir: RunMedcbir, refuse: Refuse, filled: str, tmp_path: Path
) -> None:
    for arguments in (
        ("ingest", tmp_path / "gone", "--database-url", filled),
        ("search", "--id", 1, "--encoder", "nobody", "--database-url", filled),
        ("evaluate", "nobody", "--database-url", filled),
        ("db", "status", "--database-url", "postgresql://127.0.0.1:1/nothing"),
        ("db", "start", "--data-dir", "/proc/medcbir"),
    ):
        done = run_medcbir(*arguments, "--json")
        assert (done.returncode, done.stdout) == (1, "")
        assert json.loads(done.stderr) == {"error": {"message": refuse(*arguments), "exit_code": 1}}


def test_a_query_image_that_cannot_be_read(refuse: Refuse, filled: str, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "notes.txt").write_text("no findings")
    for name, reason in (("broken.png", "is a damaged image"), ("notes.txt", "holds no image")):
        message = refuse("search", "--image", tmp_path / name, "--database-url", filled)
        assert message.startswith(f"cannot read {tmp_path / name}: {reason}")


def test_a_single_file_that_cannot_be_read_is_rejected_with_its_reason(
    run_medcbir: RunMedcbir, filled: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    done = run_medcbir("ingest", tmp_path / "broken.png", "--no-encode", "--database-url", filled)
    assert done.returncode == 3
    assert "nothing new, 0 unchanged, 1 rejected" in done.stdout
    with psycopg.connect(filled) as connection:
        found = connection.execute("SELECT kind, reason FROM medcbir.rejected WHERE uri LIKE '%broken.png'").fetchall()
    assert found == [("unreadable", "is a damaged image, or of a kind that is not supported")]


def test_encoders_that_cannot_be_used(refuse: Refuse, filled: str, images: Path, tmp_path: Path) -> None:
    at = ("--database-url", filled)
    message = refuse("encode", "--encoder", "biomedclp", *at)
    assert "biomedclp" in message
    assert "biomedclip" in message  # what was probably meant
    weights = tmp_path / "weights"
    message = refuse("encode", "--encoder", "biomedclip", *at, MEDCBIR_WEIGHTS_DIR=weights)
    assert message.startswith("checkpoint not found: BiomedCLIP expects ")
    assert str(weights) in message
    assert "get it from http" in message
    assert refuse("ingest", images, "--encoder", "biomedclip", *at, MEDCBIR_WEIGHTS_DIR=weights) == message
    message = refuse("search", "--id", 1, "--encoder", "biomedclip", *at)
    assert message.startswith("no vectors of encoder 'biomedclip' in this database (it has efficientnet_lite0")


def test_numbers_that_make_no_sense(refuse: Refuse, filled: str) -> None:
    at = ("--database-url", filled)
    assert refuse("search", "--id", 1, "-n", 0, *at) == "n must be 1 or more, not 0"
    assert refuse("search", "--id", 1, "-n", -3, *at) == "n must be 1 or more, not -3"
    assert refuse("retrieve", "-n", 0, *at) == "n must be 1 or more, not 0"
    assert refuse("search", "--id", 99999, *at).startswith("image 99999 has no vector of encoder efficientnet_lite0")
    assert refuse("search", "--id", 2**70, *at).startswith(f"image {2**70} has no vector")
    assert refuse("evaluate", "first", "--n", "0", *at) == "N of P@N must be 1 or more, not 0"
    assert refuse("evaluate", "first", "--n", "1,50", *at) == (
        "run first keeps 5 hits per query: retrieve again with -n 50"
    )
    for command in (("search", "--id", 1), ("retrieve",)):
        assert "2147483647" in refuse(*command, "-n", 2**31, *at)


def test_runs_that_are_not_there(refuse: Refuse, filled: str, clone: Callable[..., str]) -> None:
    assert refuse("evaluate", "second", "--database-url", filled) == (
        "no run 'second' in this database (the newest are first): make one with `medcbir retrieve --encoder NAME`"
    )
    assert refuse("evaluate", "--database-url", clone()).startswith("no run in this database (there is none yet)")
    assert refuse("retrieve", "--name", "first", "--database-url", filled) == (
        "a run named 'first' exists: choose another --name"
    )
    assert "letters, digits" in refuse("retrieve", "--name", "a b", "--database-url", filled)


def test_queries_that_cannot_be_told_apart(refuse: Refuse, filled: str, images: Path) -> None:
    at = ("--database-url", filled)
    file = next(images.rglob("*.png"))
    assert "needs one of" in refuse("search", *at)
    assert "needs one of" in refuse("search", "--id", 1, "--image", file, *at)
    assert "search by image id" in refuse("search", "--image", file, "--exclude-same-patient", *at)


def test_wrong_usage_says_how(run_medcbir: RunMedcbir, filled: str) -> None:
    for arguments in (("search", "--id", "one"), ("evaluate", "--n", "1;2"), ("ingest",), ("nonsense",)):
        done = run_medcbir(*arguments)
        assert done.returncode == 2
        assert "Usage: medcbir" in done.stderr
        assert "Traceback" not in done.stderr
        done = run_medcbir(*arguments, *(("--json",) if arguments != ("nonsense",) else ()))
        assert done.returncode == 2
    assert json.loads(run_medcbir("ingest", "--json").stderr)["error"]["exit_code"] == 2


@pytest.fixture(scope="module")
def two_images(clone: Callable[..., str], tmp_path_factory: pytest.TempPathFactory, run_medcbir: RunMedcbir) -> str:
    """A catalogue of `a` and `b`, and of `a`'s vector of four dimensions by the encoder `elsewhere`."""
    folder = tmp_path_factory.mktemp("two")
    url = clone()
    (folder / "m.csv").write_text("uri\na\nb\n")
    np.savez(folder / "v.npz", uri=["a"], vector=np.float32([[3, 4, 0, 0]]))
    assert run_medcbir("ingest", folder / "m.csv", "--metadata-only", "--database-url", url).returncode == 0
    done = run_medcbir("vectors", "import", folder / "v.npz", "--encoder", "elsewhere", "--database-url", url)
    assert done.returncode == 0, done.stderr
    return url


def test_vectors_that_cannot_be_stored(refuse: Refuse, two_images: str, tmp_path: Path) -> None:
    file = tmp_path / "v.npz"

    def refused(*vectors: list[float], encoder: str = "elsewhere") -> str:
        np.savez(file, uri=["b", "c"][: len(vectors)], vector=np.array(vectors, dtype=np.float64))
        return refuse("vectors", "import", file, "--encoder", encoder, "--database-url", two_images)

    assert refused([1, 0, 0]) == "encoder elsewhere has 4 dimensions, these vectors have 3"
    assert refused([1, 0, 0, 0], [0, 0, 0, 0]) == ("1 of 2 vectors cannot be normalised; the first, row 1, is zero")
    for bad in (np.nan, np.inf):
        assert refused([1, bad, 0, 0], encoder="new").endswith("the first, row 0, is not finite")
    assert "up to 49 more letters" in refused([1, 0, 0, 0], encoder="no such; name")
    assert "column of image_vectors" in refused([1, 0, 0, 0], encoder="uri")
    with psycopg.connect(two_images) as connection:
        assert connection.execute("SELECT count(*) FROM medcbir.embedding").fetchone() == (1,)
        assert connection.execute("SELECT name FROM medcbir.encoder").fetchall() == [("elsewhere",)]


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_an_npz_with_python_objects_is_refused_and_nothing_in_it_runs(
    refuse: Refuse, two_images: str, tmp_path: Path
) -> None:
    trace = tmp_path / "was-run"
    objects = np.array([Payload(trace)], dtype=object)
    for name, arrays in {
        "vector": {"uri": np.array(["b"]), "vector": objects},
        "uri": {"uri": objects, "vector": np.eye(1, 4)},
        "frame": {"uri": np.array(["b"]), "vector": np.eye(1, 4), "frame": objects},
    }.items():
        np.savez(tmp_path / f"{name}.npz", allow_pickle=True, **arrays)
        message = refuse(
            "vectors", "import", tmp_path / f"{name}.npz", "--encoder", "elsewhere", "--database-url", two_images
        )
        assert "it holds Python objects; save `uri` as text" in message
    assert not trace.exists()
    np.load(tmp_path / "vector.npz", allow_pickle=True)["vector"]
    assert trace.exists()  # had it been loaded with trust, it would have run


def test_files_of_other_kinds_are_refused_as_vectors(refuse: Refuse, two_images: str, tmp_path: Path) -> None:
    a, v = np.array(["b"]), np.eye(1, 4)
    np.save(tmp_path / "plain.npz", v)
    (tmp_path / "plain.npz.npy").rename(tmp_path / "plain.npz")
    (tmp_path / "text.npz").write_text("uri,vector\n")
    np.savez_compressed(tmp_path / "damaged.npz", uri=a, vector=np.random.default_rng(0).normal(size=(1, 4000)))
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    (tmp_path / "damaged.npz").write_bytes(content)
    np.savez(tmp_path / "nothing.npz", uri=a)
    np.savez(tmp_path / "lengths.npz", uri=np.array(["a", "b"]), vector=v)
    np.savez(tmp_path / "numbers.npz", uri=np.array([1]), vector=v)
    np.savez(tmp_path / "words.npz", uri=a, vector=np.array([["x"]]))
    np.savez(tmp_path / "twice.npz", uri=np.array(["b", "b"]), vector=np.eye(2, 4))
    np.savez(tmp_path / "bytes.npz", uri=np.array([b"\xff\xfe"]), vector=v)
    np.savez(tmp_path / "frames.npz", uri=a, vector=v, frame=np.array(["first"]))
    np.savez(tmp_path / "large.npz", uri=a, vector=v, frame=np.array([2**40]))
    for name, reason in {
        "plain": "it is no .npz file of numpy",
        "text": "it is no .npz file of numpy",
        "damaged": "it is no .npz file of numpy",
        "nothing": "lacks array vector",
        "lengths": "do not match",
        "numbers": "`uri` must be one-dimensional text",
        "words": "`vector` must be numbers",
        "twice": "b occurs more than once",
        "bytes": "UTF-8",
        "frames": "`frame` must be",
        "large": "`frame` must be",
    }.items():
        file = tmp_path / f"{name}.npz"
        message = refuse("vectors", "import", file, "--encoder", "elsewhere", "--database-url", two_images)
        assert reason in message, name
        assert file.name in message


def test_vectors_of_unknown_images_are_told(run_medcbir: RunMedcbir, two_images: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", uri=["a", "nobody"], vector=np.float32([[3, 4, 0, 0], [1, 0, 0, 0]]))
    done = run_medcbir("vectors", "import", tmp_path / "v.npz", "--encoder", "elsewhere", "--database-url", two_images)
    assert done.returncode == 3
    assert "0 vectors of 4 dimensions added, 1 unchanged" in done.stdout
    assert done.stderr == "1 uris are not in the catalogue, for instance nobody\n"


def test_a_database_that_does_not_answer(refuse: Refuse, tmp_path: Path) -> None:
    for url in (
        "postgresql://nobody@127.0.0.1:1/nothing",
        f"postgresql:///nothing?host={tmp_path}",
        "host=127.0.0.1 port=1 dbname=nothing",
    ):
        for command in (("db", "status"), ("search", "--id", 1), ("ingest", tmp_path, "--no-encode")):
            (tmp_path / "a.png").touch()
            message = refuse(*command, "--database-url", url)
            assert message.startswith("cannot connect to ")
            assert "check that it runs and accepts you" in message


def test_a_database_without_medcbir(refuse: Refuse, empty_database: str) -> None:
    message = refuse("search", "--id", 1, "--database-url", empty_database)
    assert message.endswith("holds no schema medcbir: run `medcbir db upgrade`")


@pytest.fixture(scope="module")
def without_pgvector() -> Iterator[str]:
    """A server whose installation lacks the extension vector."""
    user = cluster_user()
    home = Path(tempfile.mkdtemp(prefix="medcbir-bare-"))
    home.chmod(0o755)
    install = binaries_for(user).parent
    for part in (install, install.parent.parent / f"{install.parent.name}.libs"):
        if part.is_dir():
            shutil.copytree(
                part,
                home / part.relative_to(install.parent.parent),
                ignore=shutil.ignore_patterns("vector*", "include"),
            )
    data = home / "data"
    data.mkdir(mode=0o700)
    os.chown(data, user.uid, user.gid)
    programs = home / install.relative_to(install.parent.parent) / "bin"
    made = user.run([programs / "initdb", "-D", data, "-U", "medcbir", "-A", "trust", "--no-sync", "--locale=C"])
    assert made.returncode == 0, made.stderr
    options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
    started = user.run([programs / "pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options])
    assert started.returncode == 0, started.stdout
    yield f"postgresql://medcbir@/postgres?host={data}"
    user.run([programs / "pg_ctl", "stop", "-m", "immediate", "-D", data])
    shutil.rmtree(home)


@pytest.mark.skipif(not server_binaries().is_relative_to("/"), reason="needs an installation that can be copied")
def test_a_server_without_pgvector(refuse: Refuse, without_pgvector: str, images: Path) -> None:
    for command in (("db", "upgrade"), ("ingest", images, "--no-encode")):
        message = refuse(*command, "--database-url", without_pgvector)
        assert message.startswith("the database server has no pgvector: install it there")
        assert message.endswith("then run `medcbir db upgrade`")


@pytest.fixture
def guest(filled: str) -> Iterator[str]:
    """URL of a role that has no right to anything of medcbir's."""
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS medcbir_guest")
        connection.execute("CREATE ROLE medcbir_guest")
        connection.execute("GRANT medcbir_guest TO CURRENT_USER")
        yield f"{filled} options='-c role=medcbir_guest'"
        connection.execute("DROP ROLE medcbir_guest")


def test_a_role_without_rights(refuse: Refuse, guest: str, images: Path) -> None:
    for command in (("db", "status"), ("search", "--id", 1), ("ingest", images, "--no-encode"), ("db", "upgrade")):
        message = refuse(*command, "--database-url", guest)
        assert "permission denied for" in message
        assert "administrator" in message


def test_a_data_directory_that_cannot_be_used(refuse: Refuse, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("/proc/medcbir", tmp_path / "file"):
        for command in (("ingest", images, "--no-encode"), ("db", "start")):
            message = refuse(*command, "--data-dir", place)
            assert message.startswith(f"cannot use the data directory {place}: ")
            assert "--data-dir" in message


@pytest.mark.skipif(not ROOT, reason="acts as another user, which needs root")
def test_a_data_directory_of_another_user(run_medcbir: RunMedcbir, images: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    under = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    able = subprocess.run([*under, "test", "-x", str(server_binaries() / "postgres")], capture_output=True)
    if able.returncode:
        pytest.skip("another user cannot run this environment")
    parent = Path(tempfile.mkdtemp(prefix="medcbir-test-"))
    parent.chmod(0o755)
    environment = {"HOME": parent, "XDG_CONFIG_HOME": parent}
    done = run_medcbir("db", "start", "--data-dir", parent / "data", under=under, **environment)
    shutil.rmtree(parent)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot use the data directory {parent}/data: Permission denied")
    assert len(done.stderr.splitlines()) == 1


def test_a_read_only_data_directory_beside_an_external_database(refuse: Refuse, filled: str, images: Path) -> None:
    """It is needed there for the key of patients' pseudonyms."""
    message = refuse("ingest", images, "--no-encode", "--database-url", filled, "--data-dir", "/proc/medcbir")
    assert message.startswith("cannot keep the patient hash key in /proc/medcbir: ")
    assert "MEDCBIR_PATIENT_KEY" in message


SECRET = "s3cr3tWord"  # noqa: S105


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:{}@127.0.0.1:1/nothing",
        "host=127.0.0.1 port=1 user=someone password={} dbname=nothing",
        "postgresql://127.0.0.1:1/nothing?user=someone&password={}",
        "postgresql+psycopg://someone:{}@127.0.0.1:1/nothing",
        "postgresql://someone:{}@127.0.0.1:port/nothing",
        "postgresql://someone:{}/word@127.0.0.1:1/nothing",
        "postgresql://someone:{}@word@127.0.0.1:1/nothing",
        "postgresql://someone:word@{}@127.0.0.1:1/nothing",
        "postgresql://someone:{}?word@127.0.0.1:1/nothing",
        "postgresql://someone:{}#word@127.0.0.1:1/nothing",
        "postgresql://someone:{}%zz@127.0.0.1:1/nothing",
        "mysql://someone:{}@127.0.0.1/nothing",
        "someone:{}@127.0.0.1:1/nothing",
    ],
)
def test_a_password_is_never_shown(run_medcbir: RunMedcbir, url: str) -> None:
    secret = url.format(SECRET)
    for done in (
        run_medcbir("db", "status", DATABASE_URL=secret),
        run_medcbir("db", "stop", "--database-url", secret),
        run_medcbir("search", "--id", 1, "--json", "--database-url", secret),
    ):
        assert done.returncode == 1, done.stdout
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_password_that_opens_the_database_is_not_shown_either(run_medcbir: RunMedcbir, filled: str) -> None:
    assert "password" not in conninfo_to_dict(filled)
    url = f"{filled} password={SECRET}"  # the server does not ask for it
    for command in (
        ("db", "status"),
        ("db", "status", "--format", "json"),
        ("db", "start"),
        ("db", "url"),
        ("db", "upgrade"),
    ):
        done = run_medcbir(*command, "--database-url", url)
        assert done.returncode == 0, done.stderr
        assert done.stdout
        assert SECRET not in done.stdout + done.stderr
    done = run_medcbir("db", "psql", "-tc", "SELECT 6 * 7", "--database-url", url)
    assert done.stdout.strip() == "42"
    assert SECRET not in done.stdout + done.stderr
