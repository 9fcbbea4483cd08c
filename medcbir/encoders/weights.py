"""Where a checkpoint is, which one it is, and, where that is asked for, its download."""

import contextlib
import hashlib
import importlib.util
import os
import re
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from medcbir.encoders.spec import EncoderSpec
from medcbir.encoders.specs import SPECS
from medcbir.errors import EncoderError
from medcbir.types import Progress, Silent

_SAME_CONTENT = (
    {"model.safetensors", "pytorch_model.bin"},
    {"open_clip_model.safetensors", "open_clip_pytorch_model.bin"},
)
"""Names under which a Hugging Face repository offers the same weights in either format."""

_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin"}
_HUB = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)(?:/tree/([\w.-]+))?/?")
_BLOCK = 1 << 20


def find_checkpoint(spec: EncoderSpec, weights_dir: Path) -> Path:
    """The checkpoint's file; `EncoderError` says where to get a missing one. Nothing is downloaded.

    It is in its Python package or, looked for in this order, under its publisher's path in `weights_dir`, in the
    folder of the encoder's name there (by that name, or the only checkpoint in it), or in Hugging Face's cache.
    """
    checkpoint = spec.checkpoint
    if checkpoint.package is not None:
        directory = _package_dir(checkpoint.package)
        if directory is not None and (path := directory / checkpoint.file).is_file():
            return path
        raise EncoderError(f"{_expected(spec)} the package {checkpoint.package}; install {checkpoint.source}")
    file, own = weights_dir / checkpoint.file, weights_dir / spec.unsuffixed
    places = [file.parent, own, *_cached_snapshots(checkpoint.source)]
    for place in places:
        for name in _names(file.name):
            if (place / name).is_file():
                return place / name
    alone = sorted(each for each in own.glob("*") if each.suffix in _SUFFIXES and each.is_file())
    if len(alone) == 1:
        return alone[0]
    raise EncoderError(
        f"{_expected(spec)} {file.parent if Path(checkpoint.file).is_absolute() else weights_dir}; get it from "
        f"{checkpoint.source}, or set MEDCBIR_WEIGHTS_DIR"
        + (
            f"; `medcbir encoders verify {spec.unsuffixed} --allow-download` fetches it"
            if download_url(checkpoint.source, checkpoint.file) is not None
            else ""
        )
        + (f". There are several in {own}: leave one, or name it {file.name}" if alone else "")
    )


def with_checkpoint(spec: EncoderSpec, weights_dir: Path, sha256: str) -> EncoderSpec | None:
    """`spec` with the file of this digest (hex) as its checkpoint, whatever its name; None where there is none.

    It is looked for where `find_checkpoint` looks, and in every revision that Hugging Face's cache keeps.
    """
    with contextlib.suppress(EncoderError):
        if sha256_file(find_checkpoint(spec, weights_dir)) == sha256:
            return spec
    revisions = [each for revision in _cached_snapshots(spec.checkpoint.source) for each in revision.parent.glob("*")]
    for place in ((weights_dir / spec.checkpoint.file).parent, weights_dir / spec.unsuffixed, *sorted(revisions)):
        for file in sorted(place.glob("*")):
            if file.suffix in _SUFFIXES and file.is_file() and sha256_file(file) == sha256:
                found = replace(spec.checkpoint, file=str(file.absolute()), sha256=sha256, package=None)
                return replace(spec, checkpoint=found)
    return None


def find_tokenizer(spec: EncoderSpec, weights_dir: Path) -> Path | None:
    """The file of the text tower's tokenizer, looked for as the checkpoint is; None where a library brings it along.

    `EncoderError` says where to get a missing one.
    """
    tokenizer = None if spec.text is None else spec.text.tokenizer
    if tokenizer is None or tokenizer.file is None:
        return None
    file = weights_dir / tokenizer.file
    for place in (file.parent, weights_dir / spec.unsuffixed, *_cached_snapshots(tokenizer.source)):
        if (place / file.name).is_file():
            return place / file.name
    raise EncoderError(
        f"tokenizer not found: to read words, {spec.title} expects {tokenizer.file} in {weights_dir}; get it from "
        f"{tokenizer.source}"
    )


def download_url(source: str, file: str) -> str | None:
    """Where `file` itself can be fetched: on the hub, or at a source that is the file; None where nowhere.

    The hub is that of `HF_ENDPOINT` where this is set; a source ending in /tree/REVISION is fetched at that revision.
    """
    name = PurePosixPath(file).name
    if hub := _HUB.fullmatch(source):
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return f"{endpoint}/{hub[1]}/resolve/{hub[2] or 'main'}/{name}"
    return source if source.startswith(("https://", "http://")) and source.endswith(f"/{name}") else None


def fetch_checkpoint(spec: EncoderSpec, weights_dir: Path, progress: Progress | None = None) -> Path:
    """The checkpoint's file, downloaded into `weights_dir` if it is not there yet.

    It gets its name only when it is whole and, where the digest is known, the expected one. Raises `EncoderError` where
    there is nothing to fetch, or it cannot be fetched.
    """
    with contextlib.suppress(EncoderError):
        return find_checkpoint(spec, weights_dir)
    checkpoint = spec.checkpoint
    url = download_url(checkpoint.source, checkpoint.file)
    if url is None:
        return find_checkpoint(spec, weights_dir)  # raises what is missing
    return _fetch(url, weights_dir / checkpoint.file, spec, checkpoint.sha256, progress)


def fetch_tokenizer(spec: EncoderSpec, weights_dir: Path, progress: Progress | None = None) -> Path | None:
    """The file of the text tower's tokenizer as `find_tokenizer` finds it, downloaded like a checkpoint if missing."""
    with contextlib.suppress(EncoderError):
        return find_tokenizer(spec, weights_dir)
    tokenizer = None if spec.text is None else spec.text.tokenizer
    url = tokenizer and tokenizer.file and download_url(tokenizer.source, tokenizer.file)
    if not (tokenizer and tokenizer.file and url):
        return find_tokenizer(spec, weights_dir)  # raises what is missing
    return _fetch(url, weights_dir / tokenizer.file, spec, None, progress)


def _fetch(url: str, file: Path, spec: EncoderSpec, sha256: str | None, progress: Progress | None) -> Path:
    """Download to `file`, which appears only when it is whole and of that digest, if one is given."""
    import urllib.error

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
            try:
                digest = _download(url, draft, spec.name, progress or Silent())
                if sha256 not in {None, digest}:
                    raise EncoderError(f"download refused: {url} has sha256 {digest}, {spec.title} expects {sha256}")
                Path(draft.name).chmod(0o644)
                Path(draft.name).replace(file)
            finally:
                Path(draft.name).unlink(missing_ok=True)
    except urllib.error.HTTPError as error:
        hint = "; accept its terms there and set HF_TOKEN" if error.code in {401, 403} else ""
        raise EncoderError(f"cannot download {url}: HTTP {error.code} {error.reason}{hint}") from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise EncoderError(f"cannot download {url} to {file.parent}: {reason}") from None
    return file


def _download(url: str, draft: "tempfile._TemporaryFileWrapper[bytes]", name: str, progress: Progress) -> str:
    """Copy what is at `url` to `draft`; its hex SHA-256. `EncoderError` where less comes than was announced."""
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "medcbir"})  # noqa: S310, http and https alone
    token = os.environ.get("HF_TOKEN")
    if token and "/resolve/" in url:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    digest, received = hashlib.sha256(), 0
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        announced = response.headers.get("Content-Length")
        progress.begin(f"download {name}", "MB", None if announced is None else int(announced) // _BLOCK)
        while block := response.read(_BLOCK):
            draft.write(block)
            digest.update(block)
            received += len(block)
            progress.advance(1)
    draft.flush()
    if announced is not None and received != int(announced):
        raise EncoderError(f"cannot download {url}: it ended after {received} of {announced} bytes; try again")
    return digest.hexdigest()


def checkpoint_sha256(spec: EncoderSpec, weights_dir: Path) -> str:
    """Hex SHA-256 of the encoder's checkpoint; `EncoderError` where it is missing or not the one its spec names."""
    path = find_checkpoint(spec, weights_dir)
    digest = sha256_file(path)
    known = SPECS.values() if spec.origin is None else ()  # a user's own encoder may take anyone's
    other = next((each for each in known if each.checkpoint.sha256 == digest), spec)
    if spec.checkpoint.sha256 not in {None, digest} or spec.checkpoint.file != other.checkpoint.file:
        expected = f", {spec.title} expects {spec.checkpoint.sha256}" if spec.checkpoint.sha256 else ""
        holds = f"; that is {other.title}'s checkpoint" if other is not spec else ""
        raise EncoderError(
            f"checkpoint differs: {path} has sha256 {digest}{expected}{holds}; get it from {spec.checkpoint.source}"
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


def _expected(spec: EncoderSpec) -> str:
    digest = f" (sha256 {spec.checkpoint.sha256})" if spec.checkpoint.sha256 else ""
    return f"checkpoint not found: {spec.title} expects {spec.checkpoint.file}{digest} in"


def _names(name: str) -> list[str]:
    """`name` first, then the names under which the same weights are offered."""
    same = next((names for names in _SAME_CONTENT if name in names), set[str]())
    return [name, *sorted(same - {name})]


def _cached_snapshots(source: str) -> list[Path]:
    """The folder that Hugging Face's cache keeps of the repository at its revision, found without asking anyone."""
    hub = _HUB.fullmatch(source)
    if hub is None:
        return []
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    repository = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{hub[1].replace('/', '--')}"
    revision = hub[2] or "main"
    with contextlib.suppress(OSError):
        revision = (repository / "refs" / revision).read_text().strip()
    return [repository / "snapshots" / revision]


def _package_dir(package: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin is not None else None
