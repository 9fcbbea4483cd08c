"""Every test that needs a database gets a fresh one: a clone of a template that the migrations have built.

The server is the embedded one, started once per test process, unless MEDCBIR_TEST_URL names another to use.
"""

import importlib.util
import itertools
import os
import secrets
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import psycopg
import pydicom
import pytest
from PIL import Image
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import medcbir
from medcbir.store import schema
from medcbir.store.embedded import EmbeddedServer

for name in ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "MEDCBIR_DATABASE_URL"):
    os.environ.pop(name, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are slow where tests run side by side


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Connection string of a server on which tests may make databases."""
    given = os.environ.get("MEDCBIR_TEST_URL")
    if given:
        yield given
        return
    data_dir = Path(tempfile.mkdtemp(prefix="medcbir-test-"))
    data_dir.chmod(0o755)
    embedded = EmbeddedServer(data_dir)
    try:
        yield embedded.start()
    finally:
        embedded.stop()
        cluster = embedded.status().data_directory
        for folder in filter(None, (cluster, data_dir)):
            shutil.rmtree(folder, ignore_errors=True)


def _named(conninfo: str, dbname: str) -> str:
    return make_conninfo(**(conninfo_to_dict(conninfo) | {"dbname": dbname}))


def _execute(conninfo: str, statement: str, name: str, **names: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        identifiers = {key: sql.Identifier(value) for key, value in {"name": name, **names}.items()}
        connection.execute(sql.SQL(statement).format(**identifiers))


@pytest.fixture
def empty_database(server: str) -> Iterator[str]:
    """A database without medcbir, for tests that install it."""
    name = f"empty_{secrets.token_hex(4)}"
    _execute(server, "CREATE DATABASE {name} TEMPLATE template0", name)
    yield _named(server, name)
    _execute(server, "DROP DATABASE {name} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """Name of a database at the newest revision, to be cloned."""
    name = f"template_{secrets.token_hex(4)}"
    _execute(server, "CREATE DATABASE {name} TEMPLATE template0", name)
    schema.upgrade(_named(server, name))
    yield name
    _execute(server, "DROP DATABASE {name} WITH (FORCE)", name)


@pytest.fixture
def database_url(server: str, template: str) -> Iterator[str]:
    """A fresh database with schema medcbir and nothing in it."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(server, "CREATE DATABASE {name} TEMPLATE {template}", name, template=template)
    yield _named(server, name)
    _execute(server, "DROP DATABASE {name} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def clone(server: str, template: str) -> Iterator[Callable[..., str]]:
    """Makes databases for several tests: empty ones with schema medcbir, or copies of another, named by its URL."""
    made: list[str] = []

    def make(of: str | None = None) -> str:
        source = template if of is None else str(conninfo_to_dict(of)["dbname"])
        made.append(f"clone_{secrets.token_hex(6)}")
        _execute(server, "CREATE DATABASE {name} TEMPLATE {template}", made[-1], template=source)
        return _named(server, made[-1])

    yield make
    for name in made:
        _execute(server, "DROP DATABASE {name} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def start_medcbir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command `medcbir` as a shell would; keywords are environment variables, and `under` goes before it."""
    program = Path(sysconfig.get_path("scripts")) / "medcbir"
    home = tmp_path_factory.mktemp("home")

    def start(*arguments: object, under: tuple[str, ...] = (), **environment: object) -> subprocess.Popen[str]:
        variables = {"HOME": home, "XDG_CONFIG_HOME": home, "MEDCBIR_DATA_DIR": home / "data"} | environment
        return subprocess.Popen(
            [*under, str(program), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=home,
            env=os.environ | {name: str(value) for name, value in variables.items()},
        )

    return start


@pytest.fixture(scope="session")
def run_medcbir(start_medcbir: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command `medcbir` to its end, as `start_medcbir` starts it."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        with start_medcbir(*arguments, **options) as process:
            stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run


@pytest.fixture
def db(database_url: str, tmp_path: Path) -> Iterator[medcbir.Database]:
    """An open Database on a fresh database."""
    with medcbir.connect(database_url, data_dir=tmp_path / "medcbir-data") as opened:
        yield opened


@pytest.fixture(scope="session")
def draw() -> Callable[[Path], None]:
    """Saves a new picture of 32 x 32 pixels, cut from pydicom's CT or MR slice, as a PNG or JPEG by the file's name."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    slices = [pydicom.dcmread(folder / name).pixel_array.astype(float) for name in ("CT_small.dcm", "MR_small.dcm")]
    slices = [(255 * (each - each.min()) / np.ptp(each)).astype(np.uint8) for each in slices]
    drawn = itertools.count()

    def save(file: Path) -> None:
        number = next(drawn)
        pixels = slices[number % 2]
        top, left = divmod(number // 2 % 1024, 32)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[top : top + 32, left : left + 32]).save(file)

    return save


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, draw: Callable[[Path], None]) -> Callable[[str], Path]:
    """What to ingest for the source of this name, as tests/trees/<name>.py builds it, once; not to be changed."""

    @cache
    def build(name: str) -> Path:
        spec = importlib.util.spec_from_file_location(f"tree_of_{name}", Path(__file__).parent / "trees" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        path: Path = module.build(tmp_path_factory.mktemp(name), draw)
        return path

    return build
