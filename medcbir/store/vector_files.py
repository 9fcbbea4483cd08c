"""Files of vectors, read and written a batch at a time: .npz of numpy, Parquet, and the published HDF5 layout.

    npz      arrays `uri` (n,) text, `vector` (n, dim) numbers, and, where uris have several frames, `frame` (n,)
    Parquet  columns of the same names; `vector` is a list of numbers
    HDF5     one dataset (dim,) per image, stored under its uri, whose slashes make groups (Zenodo record 11196400)

Nothing that a file holds is executed, and no other file is followed from it. The database is not known here.
"""

import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from medcbir.errors import InputError, VectorError

_BATCH = 8192
_LARGEST_DIM = 16_000  # pgvector's


@dataclass(frozen=True, slots=True)
class VectorBatch:
    """Vectors (n, dim) of the images that `uris` (n) and `frames` (n,) int64 name."""

    uris: list[str]
    frames: npt.NDArray[np.int64]
    vectors: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a writer must know before the first batch: rows, dimension, the longest uri in characters, and frames."""

    rows: int
    dim: int
    longest_uri: int
    several_frames: bool


def read_vectors(file: Path) -> Iterator[VectorBatch]:
    """The vectors of `file`, whose format its first bytes tell, in batches of the file's own dtype.

    Raises `InputError` for a file of another kind or shape, `VectorError` for vectors that are none.
    """
    if not file.is_file():
        raise InputError(f"no such file: {file}")
    with file.open("rb") as opened:
        head = opened.read(8)
    if head[:2] == b"PK":
        return _checked(file, _read_npz(file))
    if head[:4] == b"PAR1":
        return _checked(file, _read_parquet(file))
    if head == b"\x89HDF\r\n\x1a\n":
        return _checked(file, _read_hdf5(file))
    raise InputError(f"cannot read {file.name}: it is no .npz file of numpy, no Parquet and no HDF5")


def write_vectors(file: Path, layout: Layout, batches: Iterable[VectorBatch]) -> None:
    """Write `batches` of float32 vectors as the suffix of `file` says; it appears when it is complete.

    Raises `InputError` for an unknown suffix, a folder that cannot be written, or uris that HDF5 cannot name.
    """
    writers = {".npz": _write_npz, ".parquet": _write_parquet, ".h5": _write_hdf5, ".hdf5": _write_hdf5}
    if file.suffix.lower() not in writers:
        raise InputError(f"cannot tell the format of {file.name}: name it .npz, .parquet, .h5 or .hdf5")
    with replaced(file) as draft:
        writers[file.suffix.lower()](draft, layout, batches)


@contextmanager
def replaced(file: Path) -> Generator[Path, None, None]:
    """A draft beside `file` that takes its place when the block ends well, and is gone otherwise."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from None
    draft = Path(name)
    try:
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(descriptor, 0o666 & ~mask)  # as any new file of the user
        yield draft
        os.fsync(descriptor)
        draft.replace(file)
    finally:
        os.close(descriptor)
        draft.unlink(missing_ok=True)


def parquet() -> tuple[Any, Any]:
    """Modules pyarrow and pyarrow.parquet."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow: pip install 'medcbir[bench]'") from None
    return pyarrow, pyarrow.parquet


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError("HDF5 needs h5py: pip install 'medcbir[bench]'") from None
    return h5py


def _checked(file: Path, batches: Iterator[VectorBatch]) -> Iterator[VectorBatch]:
    """The same, where each batch is what it should be."""
    for batch in batches:
        if not len(batch.uris) == len(batch.vectors) == len(batch.frames):
            raise InputError(
                f"{file.name}: {len(batch.uris)} uris, {len(batch.vectors)} vectors and {len(batch.frames)} frames do "
                "not match"
            )
        if not ((batch.frames >= 0) & (batch.frames < 2**31)).all():
            raise InputError(f"{file.name}: `frame` must be one-dimensional whole numbers, of which the first is 0")
        if any("\0" in uri for uri in batch.uris):
            raise InputError(f"{file.name}: `uri` holds a NUL character")
        seen: set[tuple[str, int]] = set()
        for key in zip(batch.uris, batch.frames.tolist(), strict=True):
            if key in seen:
                raise InputError(f"{file.name}: {key[0]} occurs more than once")
            seen.add(key)
        yield batch


def _require_numbers(file: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or np.dtype(dtype).kind not in "fiu" or not 0 < shape[1] <= _LARGEST_DIM:
        raise VectorError(
            f"{file.name}: `vector` must be numbers of shape (n, dim), dim up to {_LARGEST_DIM}, found {dtype} of "
            f"shape {shape}"
        )


def _read_npz(file: Path) -> Iterator[VectorBatch]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            missing = {"uri", "vector"} - set(arrays.files)
            if missing:
                raise InputError(
                    f"{file.name} lacks array {' and '.join(sorted(missing))}: it needs `uri` and `vector`"
                )
            uris, vectors = arrays["uri"], arrays["vector"]
            frames = arrays["frame"] if "frame" in arrays.files else np.zeros(len(uris), dtype=np.int64)
    except (ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            reason = "it holds Python objects; save `uri` as text (numpy dtype str), `vector` as float32"
        else:
            reason = "it is no .npz file of numpy, or it is damaged"
        raise InputError(f"cannot read {file.name}: {reason}") from None
    if uris.ndim != 1 or uris.dtype.kind not in "US":
        raise InputError(f"{file.name}: `uri` must be one-dimensional text, found {uris.dtype} of shape {uris.shape}")
    _require_numbers(file, vectors.dtype, vectors.shape)
    if not len(uris) == len(vectors) == len(frames):
        raise InputError(f"{file.name}: {len(uris)} uris, {len(vectors)} vectors and {len(frames)} frames do not match")
    if frames.ndim != 1 or frames.dtype.kind not in "iu":
        raise InputError(f"{file.name}: `frame` must be one-dimensional whole numbers, of which the first is 0")
    for start in range(0, len(uris), _BATCH):
        part = slice(start, start + _BATCH)
        names = uris[part]
        try:
            names = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
            "".join(names.tolist()).encode()
        except UnicodeError:
            raise InputError(f"{file.name}: `uri` is not UTF-8 text") from None
        yield VectorBatch(names.tolist(), frames[part].astype(np.int64), vectors[part])


def _read_parquet(file: Path) -> Iterator[VectorBatch]:
    pa, pq = parquet()
    try:
        with pq.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            missing = {"uri", "vector"} - set(schema.names)
            if missing:
                raise InputError(
                    f"{file.name} lacks column {' and '.join(sorted(missing))}: it needs `uri` and `vector`"
                )
            kind, element = schema.field("uri").type, schema.field("vector").type
            if pa.types.is_dictionary(kind):
                kind = kind.value_type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise InputError(f"{file.name}: `uri` must be text, found {kind}")
            lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
            number = element.value_type if any(is_list(element) for is_list in lists) else None
            if number is None or not (pa.types.is_floating(number) or pa.types.is_integer(number)):
                raise VectorError(f"{file.name}: `vector` must be a list of numbers, found {element}")
            columns = ["uri", "vector", *(["frame"] if "frame" in schema.names else [])]
            if "frame" in columns and not pa.types.is_integer(schema.field("frame").type):
                raise InputError(f"{file.name}: `frame` must be whole numbers, of which the first is 0")
            for batch in opened.iter_batches(_BATCH, columns=columns):
                yield _of_parquet(file, pa, batch)
    except (pa.ArrowException, OSError, ValueError, MemoryError):
        raise InputError(f"cannot read {file.name}: it is no Parquet file, or it is damaged") from None


def _of_parquet(file: Path, pa: Any, batch: Any) -> VectorBatch:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count or (name == "vector" and column.flatten().null_count):
            raise InputError(f"{file.name}: `{name}` has a row without a value")
    vector = batch.column("vector")
    sizes = np.unique(pa.compute.list_value_length(vector).to_numpy(zero_copy_only=False))
    if len(sizes) > 1:
        raise VectorError(f"{file.name}: vectors of {sizes[0]} and of {sizes[-1]} dimensions")
    rows = vector.flatten().to_numpy(zero_copy_only=False).reshape(len(vector), int(sizes[0]) if len(sizes) else 1)
    _require_numbers(file, rows.dtype, rows.shape)
    frames = batch.column("frame").to_numpy() if "frame" in batch.schema.names else np.zeros(len(rows))
    return VectorBatch(batch.column("uri").to_pylist(), frames.astype(np.int64), rows)


def _read_hdf5(file: Path) -> Iterator[VectorBatch]:
    h5py = _h5py()
    uris: list[str] = []
    rows: list[npt.NDArray[Any]] = []

    def batch() -> VectorBatch:
        made = VectorBatch(uris.copy(), np.zeros(len(uris), np.int64), np.stack(rows))
        uris.clear()
        rows.clear()
        return made

    try:
        with h5py.File(file, "r") as opened:
            for uri, vector in _datasets(file, h5py, opened):
                if rows and vector.shape != rows[0].shape:
                    raise VectorError(f"{file.name}: vectors of {len(rows[0])} and of {len(vector)} dimensions")
                uris.append(uri)
                rows.append(vector)
                if len(rows) == _BATCH:
                    yield batch()
            if rows:
                yield batch()
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError):
        raise InputError(f"cannot read {file.name}: it is no HDF5 file, or it is damaged") from None


def _datasets(file: Path, h5py: Any, opened: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Each dataset (dim,) below the root by its path; soft and external links, and groups linked to twice, are refused.

    By h5py's lower level, since a file has as many datasets as images.
    """
    seen: set[int] = set()
    groups = [("", opened["/"].id)]
    while groups:
        prefix, group = groups.pop()
        address = h5py.h5o.get_info(group).addr
        if address in seen:
            raise InputError(f"{file.name}: group {prefix!r} is linked to twice; each image must be stored once")
        seen.add(address)
        for name in group:
            try:
                path = prefix + name.decode()
            except UnicodeDecodeError:
                raise InputError(f"{file.name}: a path is not UTF-8 text") from None
            if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                raise InputError(f"{file.name}: {path} is a link to another place or file, which is not followed")
            found = h5py.h5o.open(group, name)
            if isinstance(found, h5py.h5g.GroupID):
                groups.append((path + "/", found))
            elif isinstance(found, h5py.h5d.DatasetID):
                yield path, _of_hdf5(file, h5py, path, found)
            else:
                raise InputError(f"{file.name}: {path} is neither a group nor a dataset")


def _of_hdf5(file: Path, h5py: Any, path: str, dataset: Any) -> npt.NDArray[Any]:
    if len(dataset.shape) != 1 or dataset.dtype.kind not in "fiu" or not 0 < dataset.shape[0] <= _LARGEST_DIM:
        raise VectorError(
            f"{file.name}: {path} must be numbers of shape (dim,), dim up to {_LARGEST_DIM}, found {dataset.dtype} of "
            f"shape {dataset.shape}"
        )
    stored = dataset.get_create_plist()
    if stored.get_layout() == h5py.h5d.VIRTUAL or stored.get_external_count():
        raise InputError(f"{file.name}: {path} keeps its numbers in another file, which is not followed")
    vector = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, vector)
    return vector


def _write_npz(draft: Path, layout: Layout, batches: Iterable[VectorBatch]) -> None:
    """Vectors first, as they come; uris and frames, which are small, are held until then."""
    uris: list[str] = []
    frames: list[npt.NDArray[np.int64]] = []

    def parts(dtype: Any, shape: tuple[int, ...], rows: Iterable[npt.NDArray[Any]]) -> Iterator[bytes]:
        header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        yield _npy_head(header)
        for row in rows:
            yield np.ascontiguousarray(row, dtype=dtype).tobytes()

    def seen() -> Iterator[npt.NDArray[Any]]:
        for batch in batches:
            uris.extend(batch.uris)
            frames.append(batch.frames)
            yield batch.vectors

    text = f"<U{max(layout.longest_uri, 1)}"
    names = (np.array(uris[start : start + _BATCH], text) for start in range(0, layout.rows, _BATCH))
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in (
            ("vector", parts("<f4", (layout.rows, layout.dim), seen())),
            ("uri", parts(text, (layout.rows,), names)),
            ("frame", parts("<i4", (layout.rows,), frames)),
        ):
            if name != "frame" or layout.several_frames:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    for piece in pieces:
                        member.write(piece)


def _npy_head(header: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    npy.write_array_header_1_0(out, header)
    return out.getvalue()


def _write_parquet(draft: Path, layout: Layout, batches: Iterable[VectorBatch]) -> None:
    pa, pq = parquet()
    fields = [("uri", pa.string()), ("vector", pa.list_(pa.float32(), layout.dim))]
    fields += [("frame", pa.int32())] if layout.several_frames else []
    schema = pa.schema(fields)
    with pq.ParquetWriter(draft, schema, use_dictionary=False, compression="zstd") as writer:
        for batch in batches:
            rows = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(batch.vectors).ravel()), layout.dim)
            columns = [pa.array(batch.uris, pa.string()), rows]
            columns += [pa.array(batch.frames.astype(np.int32))] if layout.several_frames else []
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _write_hdf5(draft: Path, layout: Layout, batches: Iterable[VectorBatch]) -> None:
    h5py = _h5py()
    if layout.several_frames:
        raise InputError("HDF5 has one vector per uri, and here uris have several frames: write .npz or .parquet")
    with h5py.File(draft, "w") as opened:
        for batch in batches:
            for uri, vector in zip(batch.uris, batch.vectors, strict=True):
                if any(part in ("", ".", "..") for part in uri.split("/")):
                    raise InputError(f"HDF5 cannot keep {uri} as a path: write .npz or .parquet")
                try:
                    opened.create_dataset(uri, data=vector)
                except (ValueError, OSError, RuntimeError):
                    raise InputError(
                        f"HDF5 cannot keep {uri}: another image has this uri, or it is the folder of one; choose with "
                        "--dataset, or write .npz or .parquet"
                    ) from None
