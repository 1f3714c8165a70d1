"""Mutations that know how files are put together, so that what they break is deep inside.

Every format is a list of pieces with lengths and checksums. A mutation edits, drops, repeats,
swaps or borrows pieces and mends the checksums, or does without any such knowledge what a bad
disk does.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""Most bytes of what mutation makes; more would only be slower."""

_PNG, _RIFF = b"\x89PNG\r\n\x1a\n", b"RIFF"
_INTERESTING = (0, 1, 2, 7, 8, 15, 16, 127, 128, 255, 256, 4096, 7000, 32767, 32768, 65500, 65535)
_WIDE = (2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xfe]")
# Where text, forms, JSON and archives may be cut.
_SEAM = re.compile(rb"(?<=[\n,;:{}\[\]\"=])|(?=--)|(?=PK)")

Pieces = list[bytes]


def mutate(data: bytes, other: bytes, random: Random) -> bytes:
    """Another file, made of one seed and now and then a part of another.

    Args:
        data: what is changed.
        other: lends pieces.
        random: decides; the same state makes the same file.
    """
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
        if random.random() < 0.6:
            pieces = split(data)
            random.choice(_OF_PIECES)(pieces, split(other), random)
            data = mend(pieces, random.random() < 0.9)
        else:
            data = random.choice(_OF_BYTES)(data, other, random)
        data = data[:MAX_BYTES]
    return data


def split(data: bytes) -> Pieces:
    """The pieces of a file: chunks, segments, blocks, lines; together they are the file."""
    if data.startswith(_PNG):
        return [_PNG, *_chunks(data, 8, ">", 12, length_first=True)]
    if data.startswith(_RIFF):
        return [data[:12], *_chunks(data, 12, "<", 8, length_first=False)]
    if data.startswith(b"\xff\xd8"):
        return _cut(data, [found.start() for found in _JPEG_MARKER.finditer(data)])
    if data.startswith((b"II", b"MM")):
        return _directory(data)
    if data.startswith((b"GIF8", b"BM")):
        return _cut(data, [6, 10, 13, 14, 18, 22, 26, 30, 34, 54, *range(64, len(data), 64)])
    return _cut(data, [found.start() for found in _SEAM.finditer(data)])


def mend(pieces: Pieces, mended: bool) -> bytes:
    """The file of the pieces, with right checksums and sizes if they are to be mended."""
    if mended and pieces and pieces[0] == _PNG:
        pieces = [_PNG, *map(_with_checksum, pieces[1:])]
    data = b"".join(pieces)
    if mended and data.startswith(_RIFF) and len(data) >= 8:
        data = _RIFF + struct.pack("<I", (len(data) - 8) % 2**32) + data[8:]
    return data


def _with_checksum(chunk: bytes) -> bytes:
    if len(chunk) < 12:
        return chunk
    length = len(chunk) - 12
    body = chunk[4:-4]
    return struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))


def _chunks(data: bytes, at: int, order: str, extra: int, *, length_first: bool) -> Pieces:
    places = []
    while at + 8 <= len(data):
        places.append(at)
        (length,) = struct.unpack_from(f"{order}I", data, at if length_first else at + 4)
        at += length + extra + (0 if length_first else length % 2)
    return _cut(data, places)[1:] if places else [data[at:]]


def _directory(data: bytes) -> Pieces:
    """The entries of a TIFF's first directory, and what is around them."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return [data]
    (start,) = struct.unpack_from(f"{order}L", data, 4)
    return _cut(data, [4, 8, start, *(start + 2 + 12 * entry for entry in range(24))])


def _cut(data: bytes, places: Sequence[int]) -> Pieces:
    inner = sorted({place for place in places if 0 < place < len(data)})
    return [data[a:b] for a, b in zip([0, *inner], [*inner, len(data)], strict=True)]


def _number(random: Random) -> bytes:
    """A number that code tends to get wrong, as a file may have it."""
    width = random.choice((1, 2, 2, 4, 4, 8))
    value = random.choice(_INTERESTING if width < 4 else _INTERESTING + _WIDE)
    return (value % 256**width).to_bytes(width, random.choice(("little", "big")))


def _place(size: int, random: Random) -> int:
    """A place that tends to be early, because headers are where a change does most."""
    return int(random.random() ** 2 * size)


# Of pieces: each changes the list.


def _edit(pieces: Pieces, other: Pieces, random: Random) -> None:
    index = _place(len(pieces), random)
    pieces[index] = random.choice(_OF_BYTES)(pieces[index], random.choice(other), random)


def _set_length(pieces: Pieces, other: Pieces, random: Random) -> None:
    index = _place(len(pieces), random)
    piece, number = pieces[index], _number(random)
    at = random.choice((0, 2, 4))  # where PNG, JPEG, TIFF and RIFF have theirs
    pieces[index] = piece[:at] + number + piece[at + len(number) :]


def _drop(pieces: Pieces, other: Pieces, random: Random) -> None:
    del pieces[_place(len(pieces), random)]


def _repeat(pieces: Pieces, other: Pieces, random: Random) -> None:
    index = _place(len(pieces), random)
    most = max(1, MAX_BYTES // max(1, 2 * len(pieces[index])))
    times = min(most, random.choice((1, 1, 1, 2, 10, 100, 5_000)))
    pieces[index:index] = [pieces[index]] * times


def _swap(pieces: Pieces, other: Pieces, random: Random) -> None:
    a, b = random.randrange(len(pieces)), random.randrange(len(pieces))
    pieces[a], pieces[b] = pieces[b], pieces[a]


def _borrow(pieces: Pieces, other: Pieces, random: Random) -> None:
    pieces.insert(_place(len(pieces), random) + 1, random.choice(other))


def _repack(pieces: Pieces, other: Pieces, random: Random) -> None:
    """Change what is compressed in a chunk of a PNG."""
    index = random.randrange(len(pieces))
    piece = pieces[index]
    start = piece.find(b"\x78", 8, 100)
    try:
        unpacked = zlib.decompressobj().decompress(piece[start:-4], MAX_BYTES)
    except zlib.error:
        return _edit(pieces, other, random)
    changed = random.choice(_OF_BYTES)(unpacked, random.choice(other), random)
    pieces[index] = piece[:start] + zlib.compress(changed, 1) + piece[-4:]
    return None


# Of bytes: each returns others.


def _flip(data: bytes, other: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if changed else 0):
        changed[_place(len(changed), random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, other: bytes, random: Random) -> bytes:
    at, number = _place(len(data), random), _number(random)
    return data[:at] + number + data[at + len(number) :]


def _insert(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(len(data), random)
    size = random.choice((1, 2, 4, 16, 300))
    new = random.choice((random.randbytes(size), bytes(size), b"\xff" * size, other[:size]))
    return data[:at] + new + data[at:]


def _remove(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(len(data), random)
    return data[:at] + data[at + random.choice((1, 2, 4, 16, 300)) :]


def _truncate(data: bytes, other: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _splice(data: bytes, other: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _stretch(data: bytes, other: bytes, random: Random) -> bytes:
    """One part again and again."""
    at, size = _place(len(data), random), random.choice((1, 2, 8, 64))
    return data[:at] + data[at : at + size] * random.choice((2, 100, 5_000)) + data[at:]


def _append(data: bytes, other: bytes, random: Random) -> bytes:
    return data + other[: random.choice((1, 100, 100_000))]


_OF_PIECES: Sequence[Callable[[Pieces, Pieces, Random], None]] = (
    *(_edit, _edit, _edit, _set_length, _set_length, _drop, _repeat, _swap, _borrow, _repack),
)
_OF_BYTES: Sequence[Callable[[bytes, bytes, Random], bytes]] = (
    *(_flip, _flip, _overwrite, _overwrite, _insert, _remove, _truncate, _splice, _stretch),
    _append,
)
