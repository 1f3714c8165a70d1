"""The pieces that a file is cut into, counted before Pillow walks over them in Python.

An image has few: chunks, blocks, strips. A hostile file of 20 MB could have millions, each of
which costs microseconds of Python or a decompression of its own.
"""

from __future__ import annotations

import io
from typing import Final

from models.errors import ImageTooLarge
from models.tiff_directory import read_directory

MAX_READS: Final = 200_000
"""Most reads of one file: two or three for each chunk, of which real files have thousands."""

MAX_PROFILES: Final = 16
"""Most colour profiles in a PNG, which may have one; each unpacks to as much as a megabyte."""

MAX_VALUES: Final = 65_536
"""Most numbers under one tag of a TIFF: it has an offset and a size for each strip or tile."""

MAX_TAGS: Final = 4096
"""Most tags of a TIFF."""

MAX_TAG_BYTES: Final = 64 * 1024 * 1024
"""Of all tags of a TIFF together, which may all be the same bytes of the file."""

# Pillow makes Python numbers of all types but these, which are bytes and text.
_TIFF_BYTES = frozenset({1, 2, 7})
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 13: 4}  # by type; else 8
_TIFF_SIGNATURES = (b"II", b"MM")


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
    size_bytes = 0
    for number, entry in enumerate(read_directory(data)):
        if number == MAX_TAGS:
            raise _too_many("tags")
        if entry.count > MAX_VALUES and entry.kind not in _TIFF_BYTES:
            raise _too_many("strips, tiles or values of a tag")
        size_bytes += entry.count * _VALUE_BYTES.get(entry.kind, 8)
        if size_bytes > MAX_TAG_BYTES:
            raise _too_many("bytes in its tags")


def _too_many(what: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"The file has far more {what} than an image needs. Save it again as a plain PNG or JPEG."
    )
