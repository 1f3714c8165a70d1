"""Large images whose tags claim millions of values: made here, as no mutation makes them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

from serve_app.settings import ServeSettings
from tests.fuzzing.oracle import judge
from tests.fuzzing.targets import TARGETS
from tests.models.images import PNG_SIGNATURE, encode, png_chunk, scene, tiff

ORIENTATION, EXIF_POINTER = 0x0112, 34665
RATIONAL = 5
COUNT = 2_300_000  # of eight bytes each, in a file just under the limit


def _directory(tag: int, count: int, at: int) -> bytes:
    return struct.pack("<HHHLLL", 1, tag, RATIONAL, count, at, 0)


def _claiming(tag: int, count: int = COUNT) -> bytes:
    """EXIF with one tag of as many fractions as there is room for."""
    return b"II*\0\x08\0\0\0" + _directory(tag, count, 26) + bytes(8 * count)


def _jpeg(mode: str) -> bytes:
    """A JPEG whose EXIF is longer than a segment, which Pillow puts together again."""
    exif, plain = _claiming(ORIENTATION), encode(scene().convert(mode), "JPEG")
    pieces = [b"Exif\0\0" + exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces]
    start = 2 + 2 + struct.unpack(">H", plain[4:6])[0] if plain[3] == 0xE0 else 2
    return b"\xff\xd8" + b"".join(segments) + plain[start:]  # no JFIF, which has a resolution


def _png() -> bytes:
    plain = encode(scene(), "PNG")
    at = len(PNG_SIGNATURE) + 25
    return plain[:at] + png_chunk(b"eXIf", _claiming(ORIENTATION)) + plain[at:]


def _png_of_text() -> bytes:
    """EXIF as ImageMagick wrote it before PNG knew it, in hexadecimal digits."""
    plain = encode(scene(), "PNG")
    text = b"\nexif\n 9\n" + _claiming(ORIENTATION, 50_000).hex().encode()
    at = len(PNG_SIGNATURE) + 25
    chunk = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    return plain[:at] + chunk + plain[at:]


def _webp() -> bytes:
    return encode(scene(), "WEBP", lossless=True, exif=_claiming(ORIENTATION))


def _tiff() -> bytes:
    """A TIFF that points to a second directory, which Pillow reads with the pixels."""
    side = 64
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 277: 1, 278: side, EXIF_POINTER: 0}
    whole = tiff(tags, bytes(side * side))
    at = whole.index(struct.pack("<HHL", EXIF_POINTER, 4, 1)) + 8
    end = len(whole)
    second = _directory(0x9201, COUNT, end + 18)
    return whole[:at] + struct.pack("<L", end) + whole[at + 4 :] + second + bytes(8 * COUNT)


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: _jpeg("RGB"),
    "cmyk jpeg": lambda: _jpeg("CMYK"),
    "png": _png,
    "png with text": _png_of_text,
    "webp": _webp,
    "tiff": _tiff,
}


@pytest.mark.parametrize("target", ["decode", "clean"])
@pytest.mark.parametrize("name", FILES)
def test_a_tag_of_millions_of_values_costs_little(name: str, target: str) -> None:
    """Each took six or seven seconds of CPU, and a gigabyte."""
    data = FILES[name]()
    assert len(data) <= ServeSettings().max_image_bytes
    outcome = judge(TARGETS[target].run, data)
    assert (outcome.code, outcome.finding) == ("answered", None)
