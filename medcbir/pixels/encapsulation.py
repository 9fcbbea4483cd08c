"""Where the frames of compressed pixel data lie in a file (DICOM PS3.5 A.4), and what their codestreams declare."""

import struct
from collections.abc import Sequence
from typing import BinaryIO

from medcbir.errors import UnreadableImageError

_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_CUT_SHORT = "its compressed pixel data is cut short"

Fragment = tuple[int, int]
"""Position in the file of a fragment's first byte, and its length, both in bytes."""


def locate_frames(
    stream: BinaryIO, size: int, n_frames: int, extended_offsets: Sequence[int] = ()
) -> list[list[Fragment]]:
    """The fragments of each of `n_frames` frames; `stream` stands at the Basic Offset Table, the file has `size` bytes.

    Frames follow the offset tables where these point at fragments; else one fragment is one frame, or all are the
    only frame, or a frame ends with the fragment that ends its codestream.
    """
    fragments = _fragments(stream, size)
    table, fragments = fragments[0], fragments[1:]
    if len(fragments) == n_frames:
        return [[fragment] for fragment in fragments]
    if n_frames == 1 and fragments:
        return [fragments]
    stream.seek(table[0])
    basic = struct.unpack(f"<{table[1] // 4}I", stream.read(table[1] // 4 * 4))
    for offsets in (extended_offsets, basic):
        frames = _by_offsets(fragments, offsets)
        if len(frames) == n_frames:
            return frames
    frames = _by_end_of_image(stream, fragments)
    if len(frames) < n_frames:
        raise UnreadableImageError(f"declares {n_frames} frames and its pixel data holds {len(frames)}")
    return frames[:n_frames]


def _fragments(stream: BinaryIO, size: int) -> list[Fragment]:
    fragments = []
    while (tag := stream.read(4)) == _ITEM:
        (length,) = struct.unpack("<I", stream.read(4))
        position = stream.tell()
        if position + length > size:
            raise UnreadableImageError(_CUT_SHORT)
        fragments.append((position, length))
        stream.seek(length, 1)
    if tag not in (_DELIMITER, b"") or not fragments:
        raise UnreadableImageError("its compressed pixel data is damaged")
    return fragments


def _by_offsets(fragments: list[Fragment], offsets: Sequence[int]) -> list[list[Fragment]]:
    """Frames that start at `offsets`, bytes from the first fragment's item tag; none where one points elsewhere."""
    if not fragments or not offsets or offsets[0] != 0:
        return []
    origin = fragments[0][0]
    starts = {origin + offset for offset in offsets}
    if len(starts) != len(offsets) or not starts <= {position for position, _ in fragments}:
        return []
    frames: list[list[Fragment]] = []
    for fragment in fragments:
        if fragment[0] in starts:
            frames.append([])
        frames[-1].append(fragment)
    return frames


def _by_end_of_image(stream: BinaryIO, fragments: list[Fragment]) -> list[list[Fragment]]:
    frames: list[list[Fragment]] = [[]]
    for position, length in fragments:
        frames[-1].append((position, length))
        stream.seek(position + max(0, length - 10))
        if _END_OF_IMAGE in stream.read(min(length, 10)):
            frames.append([])
    return [frame for frame in frames if frame]


def check_codestream(codestream: bytes, rows: int, columns: int) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 codestream that lacks its end or declares another size than its header.

    Some decoders fill what is missing with grey, and all of them trust the codestream's size.
    """
    if _END_OF_IMAGE not in codestream.rstrip(b"\0")[-16:]:
        raise UnreadableImageError(_CUT_SHORT)
    declared = _declared_size(codestream)
    if declared is not None and declared != (rows, columns):
        raise UnreadableImageError(
            f"declares {columns} x {rows} pixels and its codestream {declared[1]} x {declared[0]}"
        )


def _declared_size(codestream: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a codestream; None where it does not say, or is of an unknown kind."""
    if codestream[:4] == b"\xff\x4f\xff\x51" and len(codestream) >= 24:  # SOC and SIZ, ISO/IEC 15444-1 A.5.1
        width, height, left, top = struct.unpack(">4I", codestream[8:24])
        return height - top, width - left
    position = 2
    while codestream[:2] == b"\xff\xd8" and position + 9 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        # SOF0..15 without DHT, JPG and DAC (ISO/IEC 10918-1 table B.1), SOF55 of JPEG-LS (ISO/IEC 14495-1)
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width = struct.unpack(">2H", codestream[position + 5 : position + 9])
            return (height, width) if height and width else None
        position += 2 + int.from_bytes(codestream[position + 2 : position + 4])
    return None
