"""The operating system's user that the embedded server runs as: its commands, and the place it may use.

PostgreSQL refuses to run as root, so under root it is a system user of its own; otherwise whoever calls.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcbir.errors import DatabaseError

SYSTEM_USER = "medcbir"
STATE_DIR = Path("/var/lib/medcbir")
"""Root's own place: clusters whose data directory that user cannot reach, and copies of such programs."""


@dataclass(frozen=True, slots=True)
class ClusterUser:
    """Owner of a cluster's files and processes."""

    name: str
    uid: int
    gid: int

    def run(
        self, command: Sequence[str | Path], *, cwd: Path = Path("/"), text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` as this user, fed with `text`: no group or other user may enter what it makes.

        It gets none of the caller's environment (libpq's variables among it) and none of its Ctrl-C.
        """
        drop: dict[str, Any] = {"user": self.uid, "group": self.gid, "extra_groups": ()} if os.geteuid() == 0 else {}
        return subprocess.run(
            command,
            cwd=cwd,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            umask=0o077,
            start_new_session=True,
            check=False,
            **drop,
        )

    def can(self, command: Sequence[str | Path], *, cwd: Path = Path("/")) -> bool:
        """Whether `command` succeeds as this user."""
        try:
            return self.run(command, cwd=cwd).returncode == 0
        except OSError:
            return False


def cluster_user() -> ClusterUser:
    """The user for this process's clusters; under root the system user `medcbir`, created at first use."""
    if os.geteuid() == 0:
        entry = _system_user()
    else:
        try:
            entry = pwd.getpwuid(os.geteuid())
        except KeyError:
            raise DatabaseError(
                f"user id {os.geteuid()} has no name on this system, and PostgreSQL needs one; add it to /etc/passwd "
                "or name an external server with --database-url"
            ) from None
    return ClusterUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _system_user() -> pwd.struct_passwd:
    """Look the system user up; create it where it is missing, though another process may be doing the same."""
    reason = "there is no useradd on this system"
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    for _ in range(20):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            if useradd is None:
                break
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        made = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if made.returncode:
            reason = (made.stderr.strip() or f"useradd failed with status {made.returncode}").splitlines()[-1]
            time.sleep(0.1)  # another process holds the lock of /etc/passwd, or was first
    raise DatabaseError(
        f"PostgreSQL does not run as root, and its system user {SYSTEM_USER} cannot be created: {reason}; create that "
        "user, run medcbir as an ordinary user, or name an external server with --database-url"
    )


def make_directory(path: Path, mode: int) -> None:
    """Make a directory with exactly this mode; one that exists is left as it is."""
    try:
        path.mkdir(parents=True, mode=mode)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is not a directory", str(path)) from None
    else:
        path.chmod(mode)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; the kernel drops it when the process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
