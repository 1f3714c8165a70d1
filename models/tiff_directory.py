"""The first directory of a TIFF, which EXIF is too, read without making objects of its values.

A tag may claim millions of values; whoever asks for one of them by Pillow's means gets them all.
TIFF 6.0, section 2; BigTIFF as in the design document of libtiff.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ORIENTATION_TAG: Final = 0x0112

_SHORT = 3
_BIG = 43
_EXIF_MARKER = re.compile(rb"(?:Exif\0\0){0,2}")  # Pillow puts one before what may have its own
_MAX_EXIF_TAGS = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """What a directory says of one tag."""

    tag: int
    kind: int
    """Type of its values, a number of the specification."""
    count: int
    field: bytes
    """The values if they fit into these 4 or 8 bytes; else where they are."""
    order: str
    """Of bytes, as `struct` writes it: < or >."""


def read_directory(data: bytes, start: int = 0) -> Iterator[Entry]:
    """The entries of the first directory, up to where the data is cut off.

    There may be as many as the data has room for: it is for the reader to stop.

    Args:
        data: a TIFF or BigTIFF.
        start: place of its header, from which it counts its offsets.
    """
    order = "<" if data[start : start + 2] == b"II" else ">"
    big = data[start + 2 : start + 3] == bytes([_BIG])  # as Pillow tells them apart
    offset, number, entry = ("Q", "Q", "HHQ8s") if big else ("L", "H", "HHL4s")
    step = struct.calcsize(f"{order}{entry}")
    try:
        (at,) = struct.unpack_from(order + offset, data, start + (8 if big else 4))
        at += start
        (entries,) = struct.unpack_from(order + number, data, at)
        at += struct.calcsize(order + number)
        for _ in range(entries):
            tag, kind, count, field = struct.unpack_from(order + entry, data, at)
            yield Entry(tag, kind, count, field, order)
            at += step
    except (struct.error, OverflowError):
        return


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in EXIF; 1 where that says nothing readable.

    Args:
        exif: with or without the six bytes that mark it.
    """
    found = _EXIF_MARKER.match(exif)
    start = 0 if found is None else found.end()
    for number, entry in enumerate(read_directory(exif, start)):
        if number == _MAX_EXIF_TAGS:
            break
        if entry.tag == ORIENTATION_TAG and (entry.kind, entry.count) == (_SHORT, 1):
            (value,) = struct.unpack_from(f"{entry.order}H", entry.field)
            return int(value) if 1 <= value <= 8 else 1
    return 1
