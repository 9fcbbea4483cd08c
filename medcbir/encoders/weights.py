"""Where a checkpoint is, and which one it is."""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from medcbir.encoders.spec import EncoderSpec
from medcbir.errors import EncoderError


def find_checkpoint(spec: EncoderSpec, weights_dir: Path) -> Path:
    """The checkpoint's file, in `weights_dir` or its Python package; `EncoderError` says where to get a missing one."""
    checkpoint = spec.checkpoint
    directory = weights_dir if checkpoint.package is None else _package_dir(checkpoint.package)
    if directory is not None and (path := directory / checkpoint.file).is_file():
        return path
    digest = f" (sha256 {checkpoint.sha256})" if checkpoint.sha256 else ""
    expected = f"checkpoint not found: {spec.title} expects {checkpoint.file}{digest} in"
    if checkpoint.package is not None:
        raise EncoderError(f"{expected} the package {checkpoint.package}; install {checkpoint.source}")
    raise EncoderError(f"{expected} {weights_dir}; get it from {checkpoint.source}, or set MEDCBIR_WEIGHTS_DIR")


def checkpoint_sha256(spec: EncoderSpec, weights_dir: Path) -> str:
    """Hex SHA-256 of the encoder's checkpoint; `EncoderError` where it is missing or not the one its spec names."""
    path = find_checkpoint(spec, weights_dir)
    digest = sha256_file(path)
    if spec.checkpoint.sha256 not in {None, digest}:
        raise EncoderError(
            f"checkpoint differs: {path} has sha256 {digest}, {spec.title} expects {spec.checkpoint.sha256}; "
            f"get it from {spec.checkpoint.source}"
        )
    return digest


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read once per process as long as its size and time stay the same."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """The digest, cached under the size (bytes) and modification time (ns) that `sha256_file` has seen."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _package_dir(package: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin is not None else None
