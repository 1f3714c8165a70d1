"""Encoded images that the tests build: by Pillow, and by hand where Pillow would refuse."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2
"""Colour types of PNG."""


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """An image as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def scene(width: int = 300, height: int = 200) -> Image.Image:
    """Smooth colours that differ under every flip and turn."""
    x = np.linspace(0, 1, width)[None, :]
    y = np.linspace(0, 1, height)[:, None]
    channels = [40 + 180 * x + 0 * y, 220 - 150 * y + 0 * x, 60 + 120 * x * y]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def deflated(size: int) -> bytes:
    """So many zero bytes, compressed a thousandfold."""
    squeeze = zlib.compressobj(9)
    block = bytes(1 << 20)
    whole, rest = divmod(size, len(block))
    parts = [squeeze.compress(block) for _ in range(whole)]
    return b"".join([*parts, squeeze.compress(block[:rest]), squeeze.flush()])


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG of any declared size; `pixels` are its compressed lines, each behind a zero."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(png_chunk(kind, data) for kind, data in chunks)


def deep_png(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A PNG with 16 bits per sample, which Pillow reads and does not write."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    return png(width, height, 16, RGB, zlib.compress(lines))


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header declares another size than its few pixels have."""
    data = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that orders its last pass over the pixels again and again."""
    data = encode(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def tiff(tags: Mapping[int, int | Iterable[int]], pixels: bytes, *, strip: bool = True) -> bytes:
    """A little-endian TIFF: its pixels, then its one directory.

    Args:
        tags: numbers by tag.
        pixels: stored as the only strip, or the only tile.
        strip: whether they are a strip.
    """
    place, size = (273, 279) if strip else (324, 325)
    values = {**tags, place: 8, size: len(pixels)}
    start = 8 + len(pixels)
    overflow_at = start + 2 + 12 * len(values) + 4
    entries, overflow = b"", b""
    for tag in sorted(values):
        value = values[tag]
        numbers = [value] if isinstance(value, int) else list(value)
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, overflow = struct.pack("<I", overflow_at + len(overflow)), overflow + packed
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    directory = struct.pack("<H", len(values)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + pixels + directory + overflow


def tiled_tiff(width: int, height: int, tile: int) -> bytes:
    """A grey TIFF of one deflated tile, which may be far larger than the image."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile}
    return tiff(tags, deflated(tile * tile), strip=False)


def gif_of_size(width: int, height: int) -> bytes:
    """A GIF that declares a size and holds hardly a pixel."""
    screen = b"GIF89a" + struct.pack("<HH", 16, 16) + bytes(3)
    frame = b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0;"
    return screen + frame


def bmp_of_size(width: int, height: int) -> bytes:
    """A BMP that ends after its header."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def prefixes(data: bytes, count: int) -> Iterator[bytes]:
    """About `count` beginnings, of which the last ones lack a byte, two, three ..."""
    step = max(1, len(data) // count)
    yield from (data[:size] for size in range(1, len(data), step))
    yield from (data[:-missing] for missing in range(1, 12))
