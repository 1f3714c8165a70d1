"""The header of a JPEG: its segments before the first scan, read without decoding anything.

Segments and markers: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

# A grey picture of one pixel, for a reader that wants one to look at what stands before it.
_ONE_PIXEL = bytes.fromhex("ffc0000b080001000101011100 ffda0008010100003f00")


@dataclass(frozen=True)
class JpegHeader:
    """What the segments say."""

    baseline: bool
    """Whether the first frame is, in which a pass over the pixels takes bytes for each of them."""
    whole: bool
    """Whether one segment follows the other up to a scan, with nothing in between."""
    metadata: bytes
    """A JPEG of one pixel with the APP1 segments, which hold EXIF and XMP, and no others."""


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walk over the segments of a JPEG up to its first scan.

    Args:
        data: begins with the start marker of a JPEG.

    Raises:
        ImageTooLarge: if there are thousands of segments.
    """
    at, baseline, metadata = 2, None, [data[:2]]
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.match(data, at)
        marker = None if found is None else found[1][0]
        if found is None or marker not in _FRAMES | _OTHERS:
            break
        if marker in _FRAMES and baseline is None:
            baseline = marker in _BASELINE
        at, start = found.end(), at
        at += int.from_bytes(data[at : at + 2], "big")
        if marker == _APP1:
            metadata.append(data[start:at])
    else:
        raise ImageTooLarge(
            f"The JPEG has more than {MAX_SEGMENTS} segments. Save it again as a plain JPEG."
        )
    return JpegHeader(
        baseline=bool(baseline),
        whole=marker == _SCAN,
        metadata=b"".join((*metadata, _ONE_PIXEL)),
    )
