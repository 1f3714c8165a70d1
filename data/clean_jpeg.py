"""Clean JPEG: the segments of a JPEG that its pixels need, copied without decoding them.

Segments and markers: ITU-T T.81, annex B. What is kept is what libjpeg reads to decode; JFIF
and Adobe segments say how colours are stored, and are written anew without the rest of them.
Tables are copied unread: whoever means to can hide bytes in one that no scan uses, as in the
pixels themselves.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.errors import TruncatedImage
from models.preprocessing import jpeg_orientation

_START, _END = b"\xff\xd8", b"\xff\xd9"
_EOI, _SOS = 0xD9, 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a segment: temporary use and restarts."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
"""Huffman, arithmetic conditioning, quantisation, restart interval."""
_KEPT = _FRAMES | _TABLES | {_SOS}
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
# Shorter ones are not read by libjpeg.
_JFIF_BYTES, _ADOBE_BYTES = 14, 12
_TURNED, _SIDEWAYS = range(2, 9), range(5, 9)

# Real files have tens; a hostile one could have millions, each of which costs Python time.
_MAX_SEGMENTS = 4096

_MARKER = re.compile(rb"\xff+[^\xff]")
# Within compressed pixels, 0xFF also stands before a zero (a stuffed 0xFF) and in restarts.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class CleanJpeg:
    """A JPEG of the segments that decoding reads, and its orientation."""

    data: bytes
    size: tuple[int, int]
    """Width and height of the upright picture, in pixels."""


@dataclass(frozen=True)
class _Segment:
    marker: int
    body: bytes
    """Without its length."""
    scan: bytes = b""
    """The compressed pixels that follow the header of a scan."""

    def encode(self) -> bytes:
        head = struct.pack(">BBH", 0xFF, self.marker, len(self.body) + 2)
        return head + self.body + self.scan


def clean_jpeg(data: bytes) -> CleanJpeg:
    """Keep a JPEG's frames, scans and tables to the byte, its orientation, and no other segment.

    Whether the picture can be decoded is not found out here.

    Args:
        data: begins with the start marker of a JPEG.

    Raises:
        TruncatedImage: if the file ends before its end marker, has other bytes where a segment
            is due, no frame before its first scan, or thousands of segments.
    """
    segments = list(_segments(data))
    header = list(itertools.takewhile(lambda segment: segment.marker != _SOS, segments))
    width, height = _frame_size(header)
    orientation = jpeg_orientation(data)
    kept = [segment for segment in segments if segment.marker in _KEPT]
    parts = [one.encode() for one in (*_colours(header), *_exif(orientation), *kept)]
    return CleanJpeg(
        data=b"".join((_START, *parts, _END)),
        size=(height, width) if orientation in _SIDEWAYS else (width, height),
    )


def _segments(data: bytes) -> Iterator[_Segment]:
    """All segments up to the end marker."""
    at = len(_START)
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.match(data, at)
        if found is None:
            raise _damaged()
        marker, at = data[found.end() - 1], found.end()
        if marker == _EOI:
            return
        if marker in _ALONE:
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if not at + 2 <= end <= len(data):
            raise _damaged()
        body, scan, at = data[at + 2 : end], b"", end
        if marker == _SOS:
            found = _MARKER_IN_SCAN.search(data, at)
            if found is None:
                raise _damaged()
            scan, at = data[at : found.start()].rstrip(b"\xff"), found.start()
        yield _Segment(marker, body, scan)
    raise TruncatedImage(
        f"The JPEG has more than {_MAX_SEGMENTS} segments. Save it again as a plain JPEG."
    )


def _frame_size(header: Sequence[_Segment]) -> tuple[int, int]:
    """Width and height in pixels."""
    frames = [segment.body for segment in header if segment.marker in _FRAMES]
    if not frames or len(frames[0]) < 5:
        raise _damaged()
    height, width = struct.unpack(">HH", frames[0][1:5])
    return width, height


def _colours(header: Sequence[_Segment]) -> Iterator[_Segment]:
    """The segments that tell libjpeg how colours are stored, if there were such."""
    is_jfif = any(
        one.marker == _APP0 and one.body.startswith(b"JFIF\0") and len(one.body) >= _JFIF_BYTES
        for one in header
    )
    if is_jfif:  # version 1.1, no resolution, no thumbnail
        yield _Segment(_APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    transforms = [
        one.body[_ADOBE_BYTES - 1]
        for one in header
        if one.marker == _APP14 and one.body.startswith(b"Adobe") and len(one.body) >= _ADOBE_BYTES
    ]
    if transforms:  # version 100, no flags
        yield _Segment(_APP14, b"Adobe\0\x64\0\0\0\0" + bytes(transforms[-1:]))


def _exif(orientation: int) -> Iterator[_Segment]:
    """EXIF with one tag, 0x0112, unless the picture is upright as it is stored."""
    if orientation in _TURNED:
        directory = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
        yield _Segment(_APP1, b"Exif\0\0MM\0*\0\0\0\x08" + directory)


def _damaged() -> TruncatedImage:
    return TruncatedImage(
        "The JPEG is damaged or incomplete and cannot be decoded. Send the whole original file."
    )
