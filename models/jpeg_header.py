"""The header of a JPEG: its segments before the first scan, read without decoding anything.

Segments and markers: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from models.errors import ImageTooLarge

# Real files have tens; a hostile one could have millions, each of which costs Python time.
MAX_SEGMENTS = 4096

_MARKER = re.compile(rb"\xff+([^\xff])")
_SCAN = 0xDA
_APP1 = 0xE1
_BASELINE = frozenset({0xC0, 0xC1})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What else may stand before a scan: tables, restart interval, comment and application segments.
_OTHERS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})

# Says how colours are stored; all other application segments and comments are metadata.
_APP14 = 0xEE
_METADATA = frozenset({0xFE, *range(0xE0, 0xF0)}) - {_APP14}
_EXIF_MARKER = b"Exif\0\0"


class _Segment(NamedTuple):
    marker: int
    start: int
    body: int
    """Where its contents begin, behind its length."""
    end: int


@dataclass(frozen=True)
class JpegHeader:
    """What the segments say."""

    baseline: bool
    """Whether the first frame is, in which a pass over the pixels takes bytes for each of them."""
    whole: bool
    """Whether one segment follows the other up to a scan, with nothing in between."""
    exif: bytes
    """Contents of the first segment with EXIF; empty if there is none."""


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walk over the segments of a JPEG up to its first scan.

    Args:
        data: begins with the start marker of a JPEG.

    Raises:
        ImageTooLarge: if there are thousands of segments.
    """
    baseline, exif, at = None, b"", 2
    for segment in _segments(data):
        if segment.marker in _FRAMES and baseline is None:
            baseline = segment.marker in _BASELINE
        if segment.marker == _APP1 and not exif and data.startswith(_EXIF_MARKER, segment.body):
            exif = data[segment.body : segment.end]
        at = segment.end
    found = _MARKER.match(data, at)
    return JpegHeader(bool(baseline), found is not None and found[1][0] == _SCAN, exif)


def without_metadata(data: bytes) -> bytes:
    """A JPEG without what its pixels do not need, before its first scan.

    Pillow reads EXIF, resolutions and thumbnails whenever it opens a JPEG, however many there are.

    Raises:
        ImageTooLarge: if there are thousands of segments.
    """
    parts, at = [data[:2]], 2
    for segment in _segments(data):
        if segment.marker not in _METADATA:
            parts.append(data[segment.start : segment.end])
        at = segment.end
    return b"".join((*parts, data[at:]))


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments up to the first scan, or to what is none."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.match(data, at)
        if found is None or found[1][0] not in _FRAMES | _OTHERS:
            return
        body = found.end() + 2
        end = found.end() + int.from_bytes(data[found.end() : body], "big")
        yield _Segment(found[1][0], at, body, end)
        at = end
    raise ImageTooLarge(
        f"The JPEG has more than {MAX_SEGMENTS} segments. Save it again as a plain JPEG."
    )
