"""Reading a manifest: a UTF-8 table with a header, row by row, every malformed row named and none of them fatal."""

import csv
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Self, TextIO

from medcbir.errors import InputError
from medcbir.labels import canonical_split
from medcbir.sources import Options
from medcbir.types import Rejection, Split

_DELIMITERS = ",;\t"
_SUFFIXES = (".csv", ".tsv")
_LONGEST_ROW = 1_000_000  # characters
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class RowError(Exception):
    """What is wrong with a row: a column's name and the reason."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"column {column}: {reason}")


@dataclass(frozen=True, slots=True)
class Table:
    """A manifest whose header is read: `columns` in order, without case or blanks; unnamed ones are `column_<n>`."""

    path: Path
    columns: tuple[str, ...]
    delimiter: str

    def rows(self) -> Iterator[tuple[int, list[str] | str]]:
        """The line number and the cells of each row, or the reason why it has none; blank lines are no rows."""
        try:
            with _open(self.path) as stream:
                lines = _Lines(stream, _most_characters(self.path))
                reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
                next(reader)
                while True:
                    line = reader.line_num + 1
                    lines.row = 0
                    try:
                        cells = next(reader)
                    except StopIteration:
                        return
                    except csv.Error as error:
                        yield line, str(error)
                        continue
                    if len(cells) != len(self.columns):
                        if cells:
                            yield line, f"{len(cells)} cells where the header has {len(self.columns)}"
                    elif "\0" in "".join(cells):
                        yield line, "a NUL character"
                    else:
                        yield line, cells
        except UnicodeDecodeError:
            raise InputError(f"{self.path} is not UTF-8 text") from None
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(f"{self.path} is damaged: download it again") from None
        except _BombError:
            raise InputError(f"{self.path} grows a hundredfold when it is unpacked: unpack and look at it") from None

    def picker(self, *names: str) -> Callable[[list[str]], tuple[str, ...]]:
        """What takes the cells of these columns (two or more) out of a row; `InputError` where one is missing."""
        if missing := next((name for name in names if name not in self.columns), None):
            raise InputError(f"{self.path} has no column {missing!r}")
        return itemgetter(*map(self.columns.index, names))

    def rejection(self, line: int, dataset: str, reason: str) -> Rejection:
        """A malformed row, named by manifest and line, since its URI may be what is malformed."""
        return Rejection(f"{self.path.name}:{line}", dataset, f"line {line}: {reason}", kind="invalid")


def looks_like_table(path: Path) -> bool:
    """Whether `path` is a file named as a table."""
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def has_columns(path: Path, *names: str) -> bool:
    """Whether `path` is a table with these columns."""
    try:
        return os.path.isfile(path) and set(names) <= set(open_table(path).columns)  # noqa: PTH113, never raises
    except InputError:
        return False


def open_table(path: Path) -> Table:
    """Read the header of a manifest, plain or `.gz`; raises `InputError` where there is none to read."""
    try:
        with _open(path) as stream:
            first = stream.readline(_LONGEST_ROW)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise InputError(f"{path} cannot be read: {reason}") from None
    if not first.strip():
        raise InputError(f"{path} is empty: a manifest begins with a line of column names")
    if len(first) == _LONGEST_ROW:
        raise InputError(f"{path} is no table: its first line has no end")
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
    columns = tuple(name or f"column_{position}" for position, name in enumerate(names, start=1))
    lower = [name.casefold() for name in columns]
    if twice := next((name for name in lower if lower.count(name) > 1), None):
        raise InputError(f"{path}: column {twice} stands twice in the header")
    return Table(path, columns, delimiter)


def locate(uri: str, column: str, base: str, options: Options) -> Path | None:
    """Where the file of `uri` is: below `base` unless it is absolute. Raises `RowError` where that makes no sense."""
    if not uri:
        raise RowError(column, "is empty")
    if options.metadata_only:
        return None
    if _URL.match(uri):
        raise RowError(column, "is a URL: catalogue it with --metadata-only, or download it first")
    if os.path.isabs(uri):  # noqa: PTH117, a Path for each question would halve the speed
        return Path(uri)
    if ".." in uri and os.path.normpath(uri).startswith(".."):
        raise RowError(column, "leads out of the root folder")
    return Path(f"{base}/{uri}")


def read_split(text: str, column: str) -> Split | None:
    """The split that a cell names; raises `RowError` for an unknown one."""
    if not text:
        return None
    split = canonical_split(text)
    if split is None:
        raise RowError(column, f"unknown split {text[:20]!r}; known are train, val, test")
    return split


class _BombError(Exception):
    """A packed table that holds far more than a table does."""


class _Lines:
    """The lines of a text for `csv.reader`, which would hold a row of any length: one too long is an error, then left.

    `row` is how much of a row has been given, to be set to 0 before each.
    """

    def __init__(self, stream: TextIO, most: int | None) -> None:
        self.row = 0
        self._stream = stream
        self._left = most

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._read()
        whole = line
        while len(line) == _LONGEST_ROW and not line.endswith("\n"):
            line = self._read()
        if self.row > _LONGEST_ROW:
            raise csv.Error(f"a row of more than {_LONGEST_ROW} characters")
        if not whole:
            raise StopIteration
        return whole

    def _read(self) -> str:
        line = self._stream.readline(_LONGEST_ROW)
        self.row += len(line)
        if self._left is not None:
            self._left -= len(line)
            if self._left < 0:
                raise _BombError
        return line


def _most_characters(path: Path) -> int | None:
    """How much a packed table may hold: text packs to a tenth, a bomb to a thousandth."""
    return 2**24 + 100 * path.stat().st_size if path.suffix == ".gz" else None


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
