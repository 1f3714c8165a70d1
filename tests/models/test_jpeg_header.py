"""The header of a JPEG: what kind it is, whether it is whole, and its EXIF."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from models.errors import ImageTooLarge
from models.jpeg_header import MAX_SEGMENTS, read_jpeg_header, without_metadata
from models.preprocessing import decode_image, jpeg_orientation
from models.tiff_directory import exif_orientation
from tests.models.images import encode, scene

COMMENT = b"\xff\xfe\x00\x04ab"


def _with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(scene(), "JPEG", exif=exif.tobytes())


@pytest.mark.parametrize("progressive", [False, True])
def test_baseline_and_progressive_are_told_apart(progressive: bool) -> None:
    header = read_jpeg_header(encode(scene(), "JPEG", progressive=progressive))
    assert header.baseline is not progressive
    assert header.whole


def test_fill_bytes_before_a_marker_belong_to_it() -> None:
    data = encode(scene(), "JPEG")
    filled = data[:2] + b"\xff" * 1000 + data[2:]
    assert read_jpeg_header(filled).baseline
    assert read_jpeg_header(filled).whole


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read(orientation: int) -> None:
    data = _with_exif(orientation)
    assert jpeg_orientation(data) == orientation
    assert exif_orientation(read_jpeg_header(data).exif) == orientation


def test_only_the_metadata_is_removed() -> None:
    plain = encode(scene().convert("CMYK"), "JPEG")
    segments = b"".join(
        b"\xff" + marker + struct.pack(">H", 2 + len(body)) + body
        for marker, body in ((b"\xe1", b"Exif\0\0"), (b"\xed", b"Photoshop"), (b"\xfe", b"ab"))
    )
    bare = without_metadata(plain)
    assert without_metadata(plain[:2] + segments + plain[2:]) == bare
    assert b"Adobe" in bare
    assert np.array_equal(decode_image(bare), decode_image(plain))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xfe",
        b"\xff\xd8\xff\xfe\x00",
        b"\xff\xd8\xff\xfe\xff\xff",
        b"\xff\xd8\x00" * 1000,
        b"\xff\xd8" + COMMENT + b"garbage",
        b"\xff\xd8" + b"\xff\xfe\x00\x00" * 10,
        b"\xff\xd8\xff\xd9",
    ],
)
def test_a_header_that_breaks_off_is_not_whole(data: bytes) -> None:
    header = read_jpeg_header(data)
    assert not header.whole
    assert not header.baseline


def test_garbage_between_segments_is_seen() -> None:
    data = encode(scene(), "JPEG")
    assert not read_jpeg_header(data[:2] + COMMENT + b"x" + data[2:]).whole
    assert read_jpeg_header(data[:2] + COMMENT + data[2:]).whole


def test_thousands_of_segments_are_refused() -> None:
    data = encode(scene(), "JPEG")
    many = data[:2] + COMMENT * MAX_SEGMENTS + data[2:]
    with pytest.raises(ImageTooLarge, match=str(MAX_SEGMENTS)):
        read_jpeg_header(many)
