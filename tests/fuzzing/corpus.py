"""The corpus of images: small synthetic ones of every kind that a decoder treats in its own way."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from data.synthetic import synthetic_lesion
from tests.data.archives import zipped
from tests.models.images import (
    GREY,
    PNG_SIGNATURE,
    bmp_of_size,
    deep_png,
    deflated,
    encode,
    gif_of_size,
    jpeg_of_scans,
    jpeg_of_size,
    png,
    png_chunk,
    tiff,
    tiled_tiff,
)

_WIDTH, _HEIGHT = 48, 40
_ORIENTATION = 0x0112


@cache
def images() -> dict[str, bytes]:
    """Seeds by name: whole files, damaged ones, polyglots and bombs; none over 300 kB."""
    lesion = Image.fromarray(synthetic_lesion("mel", seed=1, width=_WIDTH, height=_HEIGHT))
    found = {**_jpegs(lesion), **_pngs(lesion), **_others(lesion)}
    return {**found, **_damaged(found), **_polyglots(found), **_bombs()}


def _jpegs(lesion: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION], exif[0x010F] = 6, "Camera"
    baseline = encode(lesion, "JPEG", exif=exif, icc_profile=bytes(200), comment=b"comment")
    return {
        "jpeg": encode(lesion, "JPEG"),
        "jpeg with metadata": baseline,
        "progressive jpeg": encode(lesion, "JPEG", progressive=True),
        "cmyk jpeg": encode(lesion.convert("CMYK"), "JPEG"),
        "progressive cmyk jpeg": encode(lesion.convert("CMYK"), "JPEG", progressive=True),
        "grey jpeg": encode(lesion.convert("L"), "JPEG"),
        "jpeg with restarts": encode(lesion, "JPEG", restart_marker_rows=1, subsampling=0),
    }


def _pngs(lesion: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 8
    deep = np.asarray(lesion).astype(np.uint16) * 257
    grey_deep = Image.fromarray(np.asarray(lesion.convert("L")).astype(np.uint16) * 257)
    frames = [lesion.rotate(angle) for angle in (0, 90, 180)]
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, GREY, 0, 0, 0)
    lines = zlib.compress(bytes(_HEIGHT * (_WIDTH + 1)))
    many = [(b"IHDR", header), (b"tEXt", b"Comment\0text"), (b"iCCP", b"p\0\0" + deflated(2000))]
    many += [(b"zTXt", b"Raw\0\0" + deflated(2000)), (b"prVt", b"private")]
    many += [(b"IDAT", bytes([byte])) for byte in lines] + [(b"IEND", b"")]
    return {
        "png": encode(lesion, "PNG", exif=exif),
        "palette png": encode(lesion.quantize(16), "PNG", transparency=3),
        "one-bit png": encode(lesion.convert("1"), "PNG"),
        "transparent png": encode(lesion.convert("RGBA"), "PNG"),
        "16-bit png": deep_png(deep),
        "16-bit grey png": encode(grey_deep, "PNG"),
        "animated png": encode(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "png of many chunks": PNG_SIGNATURE + b"".join(png_chunk(*chunk) for chunk in many),
    }


def _others(lesion: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 5
    frames = [lesion.rotate(angle) for angle in (90, 180)]
    animated = {"save_all": True, "append_images": frames}
    pixels = lesion.convert("L").tobytes()
    tags = {256: _WIDTH, 257: _HEIGHT, 258: 8, 259: 1, 262: 1, 277: 1, 278: _HEIGHT}
    return {
        "gif": encode(lesion, "GIF"),
        "animated gif": encode(lesion, "GIF", **animated, comment=b"comment", loop=0),
        "webp": encode(lesion, "WEBP", exif=exif, icc_profile=bytes(100), xmp=b"<x/>"),
        "lossless webp": encode(lesion.convert("RGBA"), "WEBP", lossless=True),
        "animated webp": encode(lesion.convert("RGBA"), "WEBP", **animated),
        "bmp": encode(lesion, "BMP"),
        "palette bmp": encode(lesion.quantize(16), "BMP"),
        "compressed bmp": _run_lengths(),
        "tiff": encode(lesion, "TIFF", exif=exif),
        "plain tiff": tiff(tags, pixels),
        "lzw tiff": encode(lesion, "TIFF", compression="tiff_lzw"),
        "deflated tiff": encode(lesion, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg in tiff": encode(lesion, "TIFF", compression="jpeg"),
        "fax tiff": encode(lesion.convert("1"), "TIFF", compression="group4"),
        "tiff of pages": encode(lesion, "TIFF", **animated),
        "big tiff": encode(lesion, "TIFF", big_tiff=True),
        "tiled tiff": tiled_tiff(_WIDTH, _HEIGHT, tile=64),
        "16-bit tiff": encode(Image.fromarray(np.full((40, 48), 9, np.uint16)), "TIFF"),
        "float tiff": encode(lesion.convert("F"), "TIFF"),
    }


def _run_lengths() -> bytes:
    """A BMP of run lengths, which Pillow reads and does not write."""
    lines = (bytes((_WIDTH, line % 4)) + b"\0\0" for line in range(_HEIGHT))
    body = b"".join(lines) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, _WIDTH, _HEIGHT, 1, 8, 1, len(body), 0, 0, 4, 0)
    start = 14 + len(header) + 16
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + bytes(16) + body


def _damaged(found: dict[str, bytes]) -> dict[str, bytes]:
    names = ("jpeg", "progressive jpeg", "png", "gif", "webp", "bmp", "tiff", "lzw tiff")
    return {f"half a {name}": found[name][: len(found[name]) // 2] for name in names}


def _polyglots(found: dict[str, bytes]) -> dict[str, bytes]:
    """Files that are two things at once."""
    jpeg, picture = found["jpeg"], found["png"]
    page = b"<html><script>alert(1)</script></html>"
    comment = b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page
    return {
        "jpeg and zip": jpeg + zipped({"a.jpg": jpeg}),
        "jpeg and page": jpeg[:2] + comment + jpeg[2:],
        "jpeg and jpeg": jpeg + found["progressive jpeg"],
        "gif and script": b"GIF89a/*" + found["gif"][8:] + b"*/=1;",
        "png and jpeg": picture + jpeg,
        "png in jpeg": jpeg[:20] + picture + jpeg[20:],
        "pdf": b"%PDF-1.7\n" + jpeg,
    }


def _bombs() -> dict[str, bytes]:
    return {
        "jpeg of a huge size": jpeg_of_size(65_500, 65_500),
        "jpeg of the largest size": jpeg_of_size(7_000, 7_000),
        "jpeg of passes": jpeg_of_scans(side=300, scans=2_000),
        "png of a huge size": png(20_000, 20_000, 1, GREY, deflated(20_000 * 2_501)),
        "png of the largest size": png(4_900, 4_900, 8, GREY, deflated(1000)),
        "gif of a huge size": gif_of_size(65_535, 65_535),
        "bmp of a huge size": bmp_of_size(30_000, 30_000),
        "tiff of one huge tile": tiled_tiff(224, 224, tile=5_100),
        "webp of a large size": encode(Image.new("L", (4_000, 4_000)), "WEBP", method=0),
        "gif of a large size": _blank_gif(),
    }


def _blank_gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (3_000, 3_000)).save(buffer, "GIF")
    return buffer.getvalue()
