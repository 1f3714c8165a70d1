"""The pieces that a file is cut into, counted before Pillow walks over them in Python.

An image has few: chunks, blocks, strips. A hostile file of 20 MB could have millions, each of
which costs microseconds of Python or a decompression of its own.
"""

from __future__ import annotations

import io
import struct
from typing import Final

from models.errors import ImageTooLarge

MAX_READS: Final = 200_000
"""Most reads of one file: two or three for each chunk, of which real files have thousands."""

MAX_PROFILES: Final = 16
"""Most colour profiles in a PNG, which may have one; each unpacks to as much as a megabyte."""

MAX_VALUES: Final = 65_536
"""Most numbers under one tag of a TIFF: it has an offset and a size for each strip or tile."""

MAX_TAGS: Final = 4096
"""Most tags of a TIFF."""

# Pillow makes Python numbers of all types but these, which are bytes and text.
_TIFF_BYTES = frozenset({1, 2, 7})
_TIFF_SIGNATURES = (b"II", b"MM")
_BIG_TIFF = 43


class CountedFile(io.BytesIO):
    """A file in memory that raises `ImageTooLarge` once it has been read `MAX_READS` times."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _too_many("blocks")
        return super().read(size)


def check_pieces(data: bytes) -> None:
    """Raise `ImageTooLarge` if a PNG or TIFF has pieces that no honest one has."""
    if data.startswith(b"\x89PNG"):
        # Anywhere, because finding out where chunks begin takes as long as what this prevents.
        if data.count(b"iCCP") > MAX_PROFILES:
            raise _too_many("colour profiles")
    elif data.startswith(_TIFF_SIGNATURES):
        _check_tiff(data)


def _check_tiff(data: bytes) -> None:
    """Count the values of the first directory; one that is cut off is left to the decoder."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:3] == bytes([_BIG_TIFF])  # as Pillow tells them apart
    offset, count, entry = (
        (f"{order}Q", f"{order}Q", f"{order}HHQ8x")
        if big
        else (f"{order}L", f"{order}H", f"{order}HHL4x")
    )
    try:
        (at,) = struct.unpack_from(offset, data, 8 if big else 4)
        (tags,) = struct.unpack_from(count, data, at)
        at += struct.calcsize(count)
        for number in range(tags):
            if number == MAX_TAGS:
                raise _too_many("tags")
            _, kind, values = struct.unpack_from(entry, data, at)
            if values > MAX_VALUES and kind not in _TIFF_BYTES:
                raise _too_many("strips, tiles or values of a tag")
            at += struct.calcsize(entry)
    except (struct.error, OverflowError):
        return


def _too_many(what: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"The file has far more {what} than an image needs. Save it again as a plain PNG or JPEG."
    )
