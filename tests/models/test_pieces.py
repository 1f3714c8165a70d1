"""Files cut into more pieces than an image needs are refused before Pillow walks over them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from data.clean_image import clean_image
from models.errors import ImageTooLarge
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.pieces import MAX_PROFILES, MAX_READS, MAX_VALUES
from models.preprocessing import decode_image
from tests.models.images import (
    PNG_SIGNATURE,
    RGB,
    deflated,
    encode,
    jpeg_of_scans,
    png_chunk,
    scene,
    tiff,
)

SIDE = 64
HEADER = png_chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, RGB, 0, 0, 0))
PIXELS = zlib.compress(bytes(SIDE * (1 + 3 * SIDE)))
END = png_chunk(b"IEND", b"")
TIFF = {256: SIDE, 257: SIDE, 258: 8, 259: 1, 262: 1, 277: 1, 278: SIDE}


def _png(before: bytes = b"", pixels: bytes | None = None, after: bytes = b"") -> bytes:
    pixels = png_chunk(b"IDAT", PIXELS) if pixels is None else pixels
    return PNG_SIGNATURE + HEADER + before + pixels + after + END


def _gif(block: bytes) -> bytes:
    """A GIF with something between its colours and its first frame."""
    data = encode(Image.new("P", (SIDE, SIDE)), "GIF")
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + block + data[start:]


def _big_tiff(tag: int, kind: int, count: int, order: str = "<") -> bytes:
    """A BigTIFF whose directory is one entry, of so many numbers."""
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
    return head + struct.pack(f"{order}QHHQQQ", 1, tag, kind, count, 0, 0)


def _strips(count: int) -> bytes:
    """A TIFF of one byte of pixels in so many strips."""
    data = tiff(TIFF | {278: 1, 320: [0] * count}, bytes(SIDE * SIDE))
    return data.replace(struct.pack("<HH", 320, 4), struct.pack("<HH", 273, 4), 1)


def _run_lengths(width: int, height: int, body: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 4, 0)
    return b"BM" + struct.pack("<IHHI", 70 + len(body), 0, 0, 70) + header + bytes(16) + body


FLOODS: dict[str, Callable[[], bytes]] = {
    "png chunks before the pixels": lambda: _png(png_chunk(b"prVt", b"") * MAX_READS),
    "png chunks after the pixels": lambda: _png(after=png_chunk(b"prVt", b"") * MAX_READS),
    "png texts": lambda: _png(png_chunk(b"tEXt", b"a\0b") * MAX_READS),
    "png empty pixels": lambda: _png(
        pixels=png_chunk(b"IDAT", b"") * MAX_READS + png_chunk(b"IDAT", PIXELS)
    ),
    "png profiles": lambda: _png(
        png_chunk(b"iCCP", b"a\0\0" + deflated(1_000_000)) * (MAX_PROFILES + 1)
    ),
    "gif comment": lambda: _gif(b"!\xfe" + b"\x01a" * MAX_READS + b"\0"),
    "gif controls": lambda: _gif(b"!\xf9\x04\0\0\0\0\0" * MAX_READS),
    "gif garbage": lambda: _gif(b"\x01" * MAX_READS),
    "tiff bits": lambda: tiff(TIFF | {258: [8] * (MAX_VALUES + 1)}, bytes(SIDE * SIDE)),
    "tiff strips": lambda: _strips(MAX_VALUES + 1),
    "big tiff": lambda: _big_tiff(273, 4, MAX_VALUES + 1),
    "big-endian big tiff": lambda: _big_tiff(273, 4, MAX_VALUES + 1, ">").replace(
        b"\0\x2b", b"\x2b\0", 1
    ),
    "big tiff tags": lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**40) + bytes(20 * 5_000),
    "tiff tags of the same bytes": lambda: (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 200)
        + b"".join(struct.pack("<HHLL", 40_000 + tag, 7, 2**19, 8) for tag in range(200))
        + bytes(2**19)
    ),
    "bmp run lengths": lambda: _run_lengths(1_000, 1_000, b"\x01\x01" * MAX_READS),
    "bmp of empty lines": lambda: _run_lengths(5_000, 4_999, b"\x01\x01\0\0" * 5_000),
    "jpeg passes": lambda: jpeg_of_scans(side=7_000, scans=30),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_pieces_is_refused(flood: Callable[[], bytes]) -> None:
    data = flood()
    for read in (decode_image, clean_image):
        with pytest.raises(ImageTooLarge, match="Save it"):
            read(data)


def test_a_tiff_without_strips_is_left_to_the_decoder() -> None:
    """Text and bytes of any length are honest: a camera's note, a colour profile."""
    data = tiff(TIFF, bytes(SIDE * SIDE))
    note = data.replace(struct.pack("<HHI", 278, 4, 1), struct.pack("<HHI", 37500, 7, 100_000))
    assert note != data
    assert decode_image(data + bytes(100_000)).max() == 0
    assert decode_image(note + bytes(100_000)).max() == 0


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\x01" + bytes(7),
    ],
)
def test_a_directory_that_is_cut_off_is_no_crash(data: bytes) -> None:
    with pytest.raises(Exception, match="damaged or incomplete"):
        decode_image(data)


def test_honest_files_of_many_pieces_are_decoded() -> None:
    picture = np.asarray(scene(600, 450))
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    packed = zlib.compress(lines)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 600, 450, 8, RGB, 0, 0, 0))
    # As an encoder with a buffer of 64 bytes writes it, with a text behind each.
    chunks = b"".join(png_chunk(b"IDAT", packed[at : at + 64]) for at in range(0, len(packed), 64))
    data = PNG_SIGNATURE + header + png_chunk(b"tEXt", b"a\0b") * 500 + chunks + END
    expected = decode_image(encode(scene(600, 450), "PNG"))
    assert np.array_equal(decode_image(data), expected)
    strips = encode(scene(600, 450), "TIFF", tiffinfo={278: 1})  # one for each line
    assert np.array_equal(decode_image(strips), expected)


def test_small_run_lengths_are_decoded() -> None:
    body = (bytes((SIDE, 1)) + b"\0\0") * SIDE + b"\0\1"
    assert decode_image(_run_lengths(SIDE, SIDE, body)).shape == (224, 224, 3)


def test_usual_passes_at_the_largest_size_are_taken() -> None:
    side = 1_000
    cmyk = encode(Image.new("CMYK", (side, side)), "JPEG", progressive=True)
    assert cmyk.count(b"\xff\xda") == 18  # the most that libjpeg makes by itself
    assert decode_image(cmyk, ImageLimits(max_pixels=side * side)).shape == (224, 224, 3)
    assert DEFAULT_LIMITS.max_pixels == 50_000_000
