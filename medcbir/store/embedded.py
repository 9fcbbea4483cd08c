"""The embedded PostgreSQL server: one cluster under a data directory, made at first use and closed to other users.

Why it is built this way: docs/decisions/0002-embedded-server.md.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from medcbir.errors import DatabaseError
from medcbir.store.binaries import binaries_for, psql_command, server_binaries, server_version
from medcbir.store.cluster_user import STATE_DIR, ClusterUser, cluster_user, locked, make_directory

__all__ = ["EmbeddedServer", "ServerStatus", "psql_command", "server_binaries"]

_NAME = "medcbir"  # of the role, of the database and of the user name map
_PORT = 5432  # names the socket file; nothing listens on TCP
_LONGEST_SOCKET_PATH = 103  # bytes: macOS; Linux has 107
_PATIENCE = 300.0  # seconds for crash recovery, and for the checkpoint of a shutdown
_PASSING = "starting up|shutting down|recovery mode|closed the connection|refused|No such file"
_LOG_LIMIT = 10 * 2**20  # bytes


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of a cluster without touching it.

    `version` is that of the cluster's files (PostgreSQL's major version); the last two are None where nothing runs.
    """

    running: bool
    initialised: bool
    pid: int | None
    version: str | None
    data_directory: Path | None
    socket_directory: Path | None
    conninfo: str | None


class EmbeddedServer:
    """One PostgreSQL cluster under a data directory. Its server outlives the process that started it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()

    def start(self) -> str:
        """Make the cluster if there is none, start its server if none runs, wait for it; returns a libpq URI.

        Any number of processes may call it at once. Raises `DatabaseError`.
        """
        with self._explained():
            make_directory(self._data_dir, 0o711 if os.geteuid() == 0 else 0o700)
            with locked(self._data_dir / "postgres.lock"):
                return self._run_until_ready()

    def stop(self) -> bool:
        """Shut the server down fast (open transactions are rolled back); False where none ran."""
        with self._explained():
            cluster = self._cluster()
            if not cluster.is_dir():
                return False
            with locked(self._data_dir / "postgres.lock"):
                found = _listener(cluster)
                if found is None:
                    return False
                pid, socket_directory = found
                if pid == 0:
                    raise DatabaseError(f"the server of {self._data_dir} runs in another container; stop it there")
                deadline = time.monotonic() + _PATIENCE
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
                    while (cluster / "postmaster.pid").exists():
                        os.kill(pid, 0)
                        if time.monotonic() > deadline:
                            raise DatabaseError(f"server process {pid} is still shutting down; see {self._log()}")
                        time.sleep(0.01)
                if not socket_directory.is_relative_to(cluster):
                    with contextlib.suppress(OSError):
                        socket_directory.rmdir()
                return True

    def status(self) -> ServerStatus:
        """Say what is there; starts, creates and locks nothing."""
        with self._explained():
            cluster = self._cluster()
            try:
                version = (cluster / "PG_VERSION").read_text().strip()
            except (FileNotFoundError, NotADirectoryError):
                return ServerStatus(False, False, None, None, None, None, None)
            found = _listener(cluster)
            if found is None:
                return ServerStatus(False, True, None, version, cluster, None, None)
            return ServerStatus(True, True, found[0], version, cluster, found[1], _conninfo(found[1]))

    def _run_until_ready(self) -> str:
        """Start the server where none runs, also one that goes while it is being asked; the lock is held."""
        launches, deadline = 0, time.monotonic() + _PATIENCE
        while True:
            found = _listener(self._cluster())
            if found is None and launches < 3:
                self._launch()
                launches += 1
                continue
            conninfo = _conninfo(found[1]) if found else ""
            reason = _complete(conninfo) if found else "it ends as soon as it runs"
            if reason is None:
                return conninfo
            if found is None or time.monotonic() > deadline or not re.search(_PASSING, reason):
                raise DatabaseError(
                    f"the embedded server of {self._data_dir} cannot be used: {reason}; see {self._log()}, and try "
                    "`medcbir db stop`"
                )
            time.sleep(0.02)

    def _launch(self) -> None:
        """Start a server that does not run, on a cluster that may not exist yet; the lock is held."""
        user = cluster_user()
        binaries = binaries_for(user)
        if not (self._cluster() / "PG_VERSION").exists():
            self._initialise(user, binaries)
        cluster = self._cluster()
        if cluster.stat().st_uid != user.uid:
            raise DatabaseError(
                f"the cluster {cluster} belongs to user id {cluster.stat().st_uid}, the server would run as "
                f"{user.name}; run medcbir as its owner, or choose another --data-dir"
            )
        made_by, version = (cluster / "PG_VERSION").read_text().strip(), server_version(binaries)
        if made_by != version.split(".")[0]:
            raise DatabaseError(
                f"the cluster {cluster} was made by PostgreSQL {made_by}, the server in {binaries} is {version}; point "
                f"MEDCBIR_PG_BIN to a PostgreSQL {made_by} with pgvector, run `medcbir db backup`, and restore that "
                "into another --data-dir"
            )
        _clear_stale_pid(cluster, user)
        socket_directory = _socket_directory(cluster, user)
        (socket_directory / f".s.PGSQL.{_PORT}.lock").unlink(missing_ok=True)  # as stale as the pid file was
        for name, text in _configuration(socket_directory, user).items():
            _expect(user.run(["tee", name], cwd=cluster, text=text), f"cannot write {cluster / name}")
        log = self._log()
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            _expect(user.run(["truncate", "-s", "0", log.name], cwd=cluster), f"cannot empty {log}")
        seen = log.stat().st_size if log.exists() else 0
        # pg_ctl hands its arguments to a shell within double quotes: relative names keep the data directory's out of it
        command: list[str | Path] = [binaries / "pg_ctl", "start", "-s", "-w", "-t", f"{_PATIENCE:.0f}"]
        command += ["-D", ".", "-l", log.name]
        deadline = time.monotonic() + 10
        while (started := user.run(command, cwd=cluster)).returncode:
            written = log.read_bytes()[seen:].decode(errors="replace") if log.exists() else ""
            if "pre-existing shared memory block" in written[-400:] and time.monotonic() < deadline:
                time.sleep(0.1)  # a server was killed, and the last of its processes are just leaving
                continue
            raise DatabaseError(
                f"the embedded server of {self._data_dir} did not start: {_reason(written or started.stderr)}; "
                f"see {log}, or name an external server with --database-url"
            )

    def _initialise(self, user: ClusterUser, binaries: Path) -> None:
        """Make the cluster beside its place and move it there whole, so that no half-made one is ever found."""
        cluster = self._cluster()
        if os.geteuid() == 0 and cluster.parent == self._data_dir and not user.can(["test", "-x", self._data_dir]):
            cluster = self._place_elsewhere()
        if cluster.is_dir() and any(cluster.iterdir()):
            raise DatabaseError(
                f"{cluster} is neither empty nor a PostgreSQL cluster; move it away or choose another --data-dir"
            )
        for old in cluster.parent.glob(f".{cluster.name}.*.new"):
            _remove(old)
        draft = cluster.with_name(f".{cluster.name}.{secrets.token_hex(4)}.new")
        draft.mkdir(mode=0o700)
        os.chown(draft, user.uid, user.gid, follow_symlinks=False)
        command: list[str | Path] = [binaries / "initdb", "-D", draft, f"--username={_NAME}", "--encoding=UTF8"]
        command += ["--locale=C", "--auth-local=peer", "--auth-host=reject", "--data-checksums", "--no-sync"]
        if int(server_version(binaries).split(".")[0]) >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        failure = f"cannot make a database cluster in {cluster.parent}"
        try:
            _expect(user.run(command), failure)
            include = (
                "\n# medcbir.conf is written anew at every start; what stands below this line wins over it.\n"
                "include 'medcbir.conf'\n"
            )
            _expect(user.run(["tee", "-a", "postgresql.conf"], cwd=draft, text=include), failure)
            _expect(user.run([binaries / "initdb", "-D", draft, "--sync-only"]), failure)
            draft.rename(cluster)
            _sync(cluster.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _place_elsewhere(self) -> Path:
        """Choose a place in `STATE_DIR` for the cluster, and keep its path in the data directory."""
        clusters = STATE_DIR / "clusters"
        make_directory(STATE_DIR, 0o711)
        make_directory(clusters, 0o711)
        cluster = clusters / secrets.token_hex(16)
        draft = self._data_dir / ".postgres.location.new"
        draft.unlink(missing_ok=True)
        with draft.open("x") as stream:
            stream.write(f"{cluster}\n")
        draft.replace(self._data_dir / "postgres.location")
        return cluster

    def _cluster(self) -> Path:
        """Where the cluster is, or will be."""
        pointer = self._data_dir / "postgres.location"
        try:
            cluster = Path(pointer.read_text().strip())
        except (FileNotFoundError, NotADirectoryError):
            return self._data_dir / "postgres"
        if cluster.parent != STATE_DIR / "clusters" or not re.fullmatch("[0-9a-f]{32}", cluster.name):
            raise DatabaseError(f"{pointer} does not name a cluster of medcbir; restore it, or delete it to begin anew")
        return cluster

    def _log(self) -> Path:
        return self._cluster() / "postgres.log"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the file system refuses into one line."""
        try:
            yield
        except OSError as error:
            where = "" if error.filename in (None, str(self._data_dir)) else f" ({error.filename})"
            raise DatabaseError(
                f"cannot use the data directory {self._data_dir}: {error.strerror or error}{where}; choose one that "
                "you own and can write to with --data-dir or MEDCBIR_DATA_DIR"
            ) from None


def _remove(draft: Path) -> None:
    """Remove what a killed start left, though its initdb may still be writing there for a moment."""
    deadline = time.monotonic() + 10
    while draft.exists():
        try:
            shutil.rmtree(draft)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _sync(directory: Path) -> None:
    """Make a rename within `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listener(cluster: Path) -> tuple[int, Path] | None:
    """Process id and socket directory of the cluster's running server, as the socket itself says.

    The pid file may be stale, its process id another program's by now, its directory in /tmp another user's.
    """
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < 5 or not lines[4]:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(10)
        try:
            probe.connect(f"{lines[4]}/.s.PGSQL.{lines[3]}")
        except OSError:
            return None
        if not hasattr(socket, "SO_PEERCRED"):
            return int(lines[0]), Path(lines[4])
        pid, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return (pid, Path(lines[4])) if uid == cluster.stat().st_uid else None


def _clear_stale_pid(cluster: Path, user: ClusterUser) -> None:
    """Remove the pid file of a server that is gone, although its process id may have been given to another program.

    PostgreSQL would refuse to start if that program is the same user's. Were the server alive after all, the shared
    memory it holds still keeps a second one from starting.
    """
    file = cluster / "postmaster.pid"
    deadline = time.monotonic() + 10
    while file.exists():
        pid = file.read_text().partition("\n")[0]
        if not user.can(["test", f"/proc/{pid}/cwd", "-ef", "."], cwd=cluster):
            file.unlink(missing_ok=True)
        elif _listener(cluster) is not None:
            return
        elif time.monotonic() > deadline:
            raise DatabaseError(
                f"process {pid} serves {cluster} but does not answer on its socket; end it with `kill -INT {pid}`"
            )
        else:
            time.sleep(0.05)


def _socket_directory(cluster: Path, user: ClusterUser) -> Path:
    """A directory that only `user` can enter, with a path that fits a socket address and libpq's list of hosts."""
    inside = cluster / "socket"
    if len(os.fsencode(inside / f".s.PGSQL.{_PORT}")) <= _LONGEST_SOCKET_PATH and "," not in str(inside):
        _expect(user.run(["mkdir", "-p", "socket"], cwd=cluster), f"cannot make {inside}")
        return inside
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    for attempt in range(100):
        # not XDG_RUNTIME_DIR: it goes when the user logs out, the server stays
        directory = Path(f"/tmp/medcbir-{user.uid}-{digest}{attempt or ''}")  # noqa: S108
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            os.chown(directory, user.uid, user.gid, follow_symlinks=False)
        found = directory.lstat()
        if stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == user.uid:
            return directory
    raise DatabaseError(f"other users hold every /tmp/medcbir-{user.uid}-{digest}*; choose a shorter --data-dir")


def _configuration(socket_directory: Path, user: ClusterUser) -> dict[str, str]:
    """Files of the cluster that are written anew at every start, so that they fit this machine and this user."""
    names = dict.fromkeys([user.name, "root"] if os.geteuid() == 0 else [user.name])
    cpus, megabytes = os.cpu_count() or 1, _memory() // 2**20
    listed = str(socket_directory).replace('"', '""')
    settings = {
        "listen_addresses": "",
        "port": _PORT,
        "unix_socket_directories": f'"{listed}"',
        "unix_socket_permissions": "0700",
        "max_connections": 100,
        "shared_buffers": f"{min(megabytes // 4, 2048)}MB",
        "huge_pages": "try",
        "effective_cache_size": f"{megabytes * 5 // 8}MB",
        "maintenance_work_mem": f"{max(64, min(megabytes // 16, 1024))}MB",
        "max_wal_size": "4GB",
        "wal_compression": "on",
        "random_page_cost": 1.1,
        "jit": "off",
        "max_worker_processes": cpus + 8,
        "max_parallel_workers": cpus,
        "lc_messages": "C",
        # what a statement did wrong goes to its client, never here: messages quote values, which may name a patient
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
    }
    quoted = {name: str(value).replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
    return {
        "medcbir.conf": "".join(f"{name} = '{value}'\n" for name, value in quoted.items()),
        "pg_hba.conf": f"local all all peer map={_NAME}\n",
        "pg_ident.conf": "".join(f'{_NAME} "{name}" {_NAME}\n' for name in names),
    }


def _memory() -> int:
    """Bytes of memory that this process may count on: the machine's, or a container's limit."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return physical


def _conninfo(socket_directory: Path) -> str:
    host = quote(os.fsencode(socket_directory), safe="")
    return f"postgresql://{_NAME}@/{_NAME}?host={host}&port={_PORT}"


def _complete(conninfo: str) -> str | None:
    """Create the database and the extension where they are missing; returns what prevents it."""
    try:
        try:
            connection = psycopg.connect(conninfo, autocommit=True, application_name="medcbir")
        except psycopg.OperationalError as error:
            if f'database "{_NAME}" does not exist' not in str(error):
                raise
            with psycopg.connect(conninfo, dbname="postgres", autocommit=True) as maintenance:
                maintenance.execute(f"CREATE DATABASE {_NAME}")
            connection = psycopg.connect(conninfo, autocommit=True, application_name="medcbir")
        with connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
    except psycopg.Error as error:
        return _reason(str(error).partition("\n")[0])
    return None


def _expect(done: subprocess.CompletedProcess[str], failure: str) -> None:
    if done.returncode:
        raise DatabaseError(f"{failure}: {_reason(done.stderr)}; free space there or choose another --data-dir")


def _reason(text: str) -> str:
    """The last line of a log that says what went wrong, without its time stamp and severity."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR|error):", line)]
    last = (telling or lines or ["no reason given"])[-1]
    return re.sub(r"^.*?\b(FATAL|PANIC|ERROR|error):\s+", "", last)
