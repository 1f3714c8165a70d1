"""EXIF orientation: a picture comes out upright however the camera was held."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.preprocessing import decode_image
from tests.models.images import PNG_SIGNATURE, encode, png_chunk, scene

ORIENTATION = 0x0112
# How a camera stores an upright picture under each orientation: the inverse of what a
# viewer has to do (EXIF 2.32, section 4.6.4).
STORED_AS = {
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_270),
    8: (Image.Transpose.ROTATE_270,),
}
LOSSLESS = [
    ("PNG", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_deflate"}),
    ("WEBP", {"lossless": True}),
]


def _exif(orientation: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _stored(upright: Image.Image, orientation: int) -> Image.Image:
    for transpose in STORED_AS[orientation]:
        upright = upright.transpose(transpose)
    return upright


def _difference(data: bytes, upright: Image.Image) -> float:
    expected = decode_image(encode(upright, "PNG")).astype(int)
    return float(np.abs(decode_image(data) - expected).mean())


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize(
    ("file_format", "options"), [*LOSSLESS, ("JPEG", {"quality": 95})], ids=str
)
@pytest.mark.parametrize("size", [(300, 200), (200, 300)], ids=str)
def test_the_picture_is_upright(
    file_format: str, options: dict[str, Any], orientation: int, size: tuple[int, int]
) -> None:
    upright = scene(*size)
    data = encode(_stored(upright, orientation), file_format, exif=_exif(orientation), **options)
    # A turn the wrong way is off by 20 at least; what is left comes of rounding and JPEG.
    assert _difference(data, upright) < 1


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_cmyk_jpeg_is_upright(orientation: int) -> None:
    stored = _stored(scene(), orientation).convert("CMYK")
    data = encode(stored, "JPEG", quality=95, exif=_exif(orientation))
    assert _difference(data, scene()) < 1.5


def test_a_wrong_turn_would_show() -> None:
    for orientation in range(2, 9):
        data = encode(_stored(scene(), orientation), "PNG")
        assert _difference(data, scene()) > 20


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_orientation_out_of_range_is_ignored(file_format: str, value: int) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    assert _difference(encode(scene(), file_format, exif=_exif(value), **options), scene()) < 2


def _entry(kind: int, count: int, value: bytes) -> bytes:
    """EXIF with one tag, of any type and count."""
    directory = struct.pack("<HHHI", 1, ORIENTATION, kind, count) + value + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory


DAMAGED = {
    "text": _entry(2, 4, b"six\0"),
    "fraction by zero": _entry(5, 1, struct.pack("<I", 8)),
    "outside the file": _entry(2, 4000, struct.pack("<I", 1 << 30)),
    "unknown type": _entry(99, 1, struct.pack("<I", 6)),
    "cut off": _entry(3, 1, struct.pack("<HH", 6, 0))[:14],
    "endless": b"II*\0" + struct.pack("<IH", 8, 65535),
    "no header": b"nonsense",
    "empty": b"",
}


@pytest.mark.parametrize("exif", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_is_no_reason_to_refuse_readable_pixels(exif: bytes) -> None:
    jpeg = encode(scene(), "JPEG", quality=95)
    segment = b"Exif\0\0" + exif
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert _difference(jpeg, scene()) < 2
    png = encode(scene(), "PNG")
    after_header = len(PNG_SIGNATURE) + 25
    png = png[:after_header] + png_chunk(b"eXIf", exif) + png[after_header:]
    assert _difference(png, scene()) == 0
    assert _difference(encode(scene(), "WEBP", lossless=True, exif=exif), scene()) == 0


def test_exif_far_behind_other_metadata_is_found() -> None:
    jpeg = encode(_stored(scene(), 6), "JPEG", quality=95, exif=_exif(6))
    comment = b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000)
    assert _difference(jpeg[:2] + comment + jpeg[2:], scene()) < 1
