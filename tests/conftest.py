"""Every test that needs a database gets a fresh one: a clone of a template that the migrations have built.

The server is the embedded one, started once per test process, unless MEDCBIR_TEST_URL names another to use.
"""

import os
import secrets
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import medcbir
from medcbir.store import schema
from medcbir.store.embedded import EmbeddedServer

for name in ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "MEDCBIR_DATABASE_URL"):
    os.environ.pop(name, None)


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


@pytest.fixture(scope="module")
def clone(server: str, template: str) -> Iterator[Callable[..., str]]:
    """Makes databases for a module: empty ones with schema medcbir, or copies of another, named by its URL."""
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
