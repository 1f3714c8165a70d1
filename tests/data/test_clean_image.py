"""Clean images: nothing but the picture is left, and the picture is the same to the pixel."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from data import clean_image as module
from data.clean_image import CleanImage, clean_image
from models.errors import (
    DermServeError,
    EmptyImage,
    ImageTooLarge,
    ImageTooSmall,
    TruncatedImage,
    UnsupportedImage,
)
from models.limits import ImageLimits
from models.preprocessing import decode_image
from tests.models.images import (
    bmp_of_size,
    deep_png,
    encode,
    gif_of_size,
    prefixes,
    scene,
    tiff,
    tiled_tiff,
)

# What `models.preprocessing` sets when it is imported, and pytest resets.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

T = TypeVar("T")

NAME = b"Erika Mustermann"
ORIENTATION, ARTIST, GPS = 0x0112, 0x013B, 0x8825
LIMITS = ImageLimits(max_pixels=1_000_000)


def _exif(orientation: int = 1, artist: bytes = b"") -> Image.Exif:
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    if artist:
        exif[ARTIST] = artist.decode()
        exif.get_ifd(GPS).update({1: "N", 2: (48.0, 12.0, 30.0), 29: artist.decode()})
    return exif


def _deep() -> bytes:
    return deep_png(np.asarray(scene(60, 50)).astype(np.uint16) * 257)


def _deep_tiff() -> bytes:
    levels = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    return encode(Image.fromarray(levels), "TIFF")


def _frames(file_format: str) -> bytes:
    first, *others = (scene(64, 48).rotate(turn) for turn in (0, 90, 180))
    return encode(first, file_format, save_all=True, append_images=others)


JPEGS: dict[str, Callable[[], bytes]] = {
    "baseline": lambda: encode(scene(), "JPEG"),
    "progressive": lambda: encode(scene(), "JPEG", progressive=True),
    "4:4:4": lambda: encode(scene(), "JPEG", subsampling=0, quality=97),
    "restarts": lambda: encode(scene(), "JPEG", restart_marker_blocks=1),
    "restarts of a progressive one": lambda: encode(
        scene(), "JPEG", progressive=True, restart_marker_rows=1
    ),
    "RGB": lambda: encode(scene(), "JPEG", keep_rgb=True),
    "grey": lambda: encode(scene().convert("L"), "JPEG"),
    "CMYK": lambda: encode(scene().convert("CMYK"), "JPEG"),
    "progressive CMYK": lambda: encode(scene(900, 700).convert("CMYK"), "JPEG", progressive=True),
    "large": lambda: encode(scene(2000, 1500), "JPEG"),
    "two pictures": lambda: encode(scene(), "MPO", save_all=True, append_images=[scene(200, 300)]),
    "without JFIF": lambda: _without(encode(scene(), "JPEG"), 0xE0),
    "CMYK without Adobe": lambda: _without(encode(scene().convert("CMYK"), "JPEG"), 0xEE),
    "fill bytes": lambda: encode(scene(), "JPEG").replace(b"\xff\xda", b"\xff" * 5 + b"\xda"),
}
OTHERS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: encode(scene(), "PNG"),
    **{
        f"PNG {mode}": lambda mode=mode: encode(scene().convert(mode), "PNG")  # type: ignore[misc]
        for mode in ("1", "L", "LA", "P", "RGBA")
    },
    "deep PNG": _deep,
    "half transparent": lambda: encode(Image.new("RGBA", (64, 64), (200, 100, 0, 128)), "PNG"),
    "transparent colour": lambda: encode(scene(), "PNG", transparency=(40, 220, 60)),
    "transparent palette": lambda: encode(
        scene().quantize(16), "PNG", transparency=bytes(range(16))
    ),
    "animated PNG": lambda: _frames("PNG"),
    "GIF": lambda: encode(scene(), "GIF"),
    "transparent GIF": lambda: encode(scene().quantize(16), "GIF", transparency=3),
    "animated GIF": lambda: _frames("GIF"),
    "BMP": lambda: encode(scene(), "BMP"),
    "WebP": lambda: encode(scene(), "WEBP"),
    "lossless WebP": lambda: encode(scene().convert("RGBA"), "WEBP", lossless=True),
    "animated WebP": lambda: _frames("WEBP"),
    "TIFF": lambda: encode(scene(), "TIFF"),
    "CMYK TIFF": lambda: encode(scene().convert("CMYK"), "TIFF", compression="tiff_lzw"),
    "JPEG in TIFF": lambda: encode(scene(), "TIFF", compression="jpeg"),
    "deep TIFF": _deep_tiff,
    "TIFF of pages": lambda: _frames("TIFF"),
}


def _without(jpeg: bytes, marker: int) -> bytes:
    at = jpeg.index(bytes((0xFF, marker)))
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def _check(data: bytes, limits: ImageLimits = LIMITS) -> CleanImage:
    """Clean an image, and check what holds of every clean image."""
    clean = clean_image(data, limits)
    assert np.array_equal(decode_image(clean.data, limits), clean.pixels)
    assert clean_image(clean.data, limits) == clean
    with Image.open(io.BytesIO(clean.data)) as image:
        assert image.format == {".jpg": "JPEG", ".png": "PNG"}[clean.suffix]
        assert Image.MIME[image.format] == clean.media_type
        assert set(image.getexif()) <= {ORIENTATION}
        turned = image.getexif().get(ORIENTATION, 1) > 4
        assert image.size[:: -1 if turned else 1] == (clean.width, clean.height)
        # What Pillow makes of JFIF, Adobe and EXIF segments, and nothing from the sender.
        allowed = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif"}
        allowed |= {"adobe", "adobe_transform", "progressive", "progression"}
        assert set(image.info) <= (allowed if clean.suffix == ".jpg" else set())
    return clean


@pytest.mark.parametrize("make", [*JPEGS.values(), *OTHERS.values()], ids=[*JPEGS, *OTHERS])
def test_the_model_sees_the_same(make: Callable[[], bytes]) -> None:
    data = make()
    limits = ImageLimits()
    assert np.array_equal(_check(data, limits).pixels, decode_image(data, limits))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(301, 200), (200, 301)], ids=str)
@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "RGBA", "P")),
        *(("WEBP", "RGB"), ("TIFF", "RGB"), ("TIFF", "CMYK")),
    ],
)
def test_it_stays_upright(
    file_format: str, mode: str, size: tuple[int, int], orientation: int
) -> None:
    data = encode(scene(*size).convert(mode), file_format, exif=_exif(orientation))
    clean = _check(data)
    assert np.array_equal(clean.pixels, decode_image(data))
    assert (clean.width, clean.height) == (size if orientation < 5 else size[::-1])


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_an_orientation_that_only_xmp_tells_is_none(mode: str) -> None:
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    plain, told = (encode(scene().convert(mode), "JPEG", xmp=each) for each in (b"", xmp))
    assert np.array_equal(decode_image(told), decode_image(plain))
    assert _check(told) == _check(plain)


def test_a_jpeg_keeps_its_pixels_to_the_byte() -> None:
    data = encode(scene(), "JPEG")
    tables = data.index(b"\xff\xdb")
    assert _check(data).data[-len(data) + tables :] == data[tables:]
    assert (
        _check(encode(scene(), "JPEG", exif=_exif(6))).data[-len(data) + tables :] == data[tables:]
    )


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", NAME.decode())
    info.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{NAME.decode()}</x:xmpmeta>")
    info.add(b"prVt", NAME)
    return info


METADATA: dict[str, dict[str, Any]] = {
    "JPEG": {
        "comment": NAME,
        "xmp": b"<x:xmpmeta>" + NAME + b"</x:xmpmeta>",
        "icc_profile": _profile() + NAME,
        "dpi": (300, 300),
        "extra": b"\xff\xed" + struct.pack(">H", 2 + 14 + len(NAME)) + b"Photoshop 3.0\0" + NAME,
    },
    "PNG": {"pnginfo": _text(), "icc_profile": _profile(), "dpi": (300, 300)},
    "WEBP": {"xmp": NAME, "icc_profile": _profile()},
    "TIFF": {"description": NAME.decode(), "icc_profile": _profile() + NAME},
}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("file_format", METADATA)
def test_who_and_where_is_gone(file_format: str, orientation: int) -> None:
    lossless = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(
        scene(),
        file_format,
        exif=_exif(orientation, NAME),
        **lossless,
        **METADATA[file_format],
    )
    assert NAME in data
    clean = _check(data)
    assert NAME not in clean.data
    # Two files that differ in their metadata alone are one image.
    assert clean == _check(encode(scene(), file_format, exif=_exif(orientation), **lossless))


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("TIFF", "LA"), ("WEBP", "RGBA")],
)
def test_what_transparency_hides_is_gone(file_format: str, mode: str) -> None:
    exact = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    alpha = np.zeros((300, 300), np.uint8)
    alpha[:, 100:], alpha[:, 200:] = 1, 255
    sent = []
    for hidden in (0, 90):
        samples = np.array(scene(300, 300).convert(mode))
        samples[..., -1] = alpha
        samples[alpha == 0, :-1] = hidden
        sent.append(encode(Image.fromarray(samples), file_format, **exact))
    assert sent[0] != sent[1]
    assert _check(sent[0]).data == _check(sent[1]).data
    for data in sent:
        assert np.array_equal(_check(data).pixels, decode_image(data))
        before, after = (Image.open(io.BytesIO(one)) for one in (data, _check(data).data))
        assert after.mode == before.mode
        assert np.array_equal(np.asarray(after)[alpha > 0], np.asarray(before)[alpha > 0])
        assert not np.asarray(after)[alpha == 0].any()


def test_a_comment_in_a_gif_is_gone() -> None:
    data = encode(scene(), "GIF", comment=NAME)
    assert NAME in data
    assert _check(data) == _check(encode(scene(), "GIF"))


JFXX = b"\xff\xe0" + struct.pack(">H", 8 + len(NAME)) + b"JFXX\0\x10" + NAME
MAKER = b"\xff\xe5" + struct.pack(">H", 2 + len(NAME)) + NAME
RESERVED = b"\xff\xf3" + struct.pack(">H", 2 + len(NAME)) + NAME


@pytest.mark.parametrize("segment", [JFXX, MAKER, RESERVED], ids=["thumbnail", "maker", "JPG3"])
def test_strange_segments_are_gone_wherever_they_are(segment: bytes) -> None:
    plain = encode(scene(), "JPEG", progressive=True)
    expected = _check(plain)
    for marker in (b"\xff\xdb", b"\xff\xc2", b"\xff\xda", b"\xff\xc4", b"\xff\xd9"):
        for find in (plain.index, plain.rindex):
            at = find(marker)
            told = plain[:at] + segment + plain[at:]
            if segment is RESERVED:  # to libjpeg an error, yet the picture is whole
                assert _check(told) == expected
            else:
                assert np.array_equal(decode_image(told), expected.pixels)
                assert _check(told) == expected


def test_what_follows_the_picture_is_gone() -> None:
    for file_format in ("JPEG", "PNG", "GIF", "BMP"):
        data = encode(scene(), file_format)
        assert _check(data + NAME) == _check(data)
    two = encode(scene(), "MPO", save_all=True, append_images=[scene(200, 300)])
    assert _check(two).data.count(b"\xff\xd8\xff") == 1


def test_a_thumbnail_in_jfif_is_gone() -> None:
    plain = encode(scene(), "JPEG")
    thumbnail = (
        b"\xff\xe0" + struct.pack(">H", 16 + 48) + b"JFIF\0\1\2\1\1\x2c\1\x2c\4\4" + 3 * NAME
    )
    told = _without(plain, 0xE0).replace(b"\xff\xd8", b"\xff\xd8" + thumbnail, 1)
    assert np.array_equal(decode_image(told), decode_image(plain))
    assert _check(told) == _check(plain)


def test_real_images(ham10000_samples: list[Path]) -> None:
    for path in ham10000_samples:
        data = path.read_bytes()
        clean = _check(data)
        assert np.array_equal(clean.pixels, decode_image(data))
        assert (clean.width, clean.height) == (600, 450)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyImage),
        (b"hello", UnsupportedImage),
        (b"PK\3\4 a zip file", UnsupportedImage),
        (b"\xff\xd8\xff", TruncatedImage),
        (b"\xff\xd8\xff\xd9", TruncatedImage),
        (b"\xff\xd8\xff\xda\0\2\xff\xd9", TruncatedImage),
        (b"\xff\xd8" + b"\xff" * 100_000, TruncatedImage),
        (b"\x89PNG\r\n\x1a\n", TruncatedImage),
        (encode(Image.new("RGB", (9, 9)), "JPEG"), ImageTooSmall),
        (encode(Image.new("RGB", (9, 9)), "PNG"), ImageTooSmall),
        (encode(Image.new("RGB", (1100, 1000)), "JPEG"), ImageTooLarge),
        (encode(Image.new("1", (1000, 600)), "PNG"), ImageTooLarge),
        (gif_of_size(60_000, 60_000), ImageTooLarge),
        (bmp_of_size(60_000, 60_000), ImageTooLarge),
        (tiled_tiff(64, 64, 4096), ImageTooLarge),
        (encode(Image.new("F", (64, 64)), "TIFF"), UnsupportedImage),
        (tiff({256: 64, 257: 64, 258: 8, 259: 1, 262: 1}, b"short"), TruncatedImage),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value[:12]),
)
def test_what_the_decoder_refuses_is_refused(data: bytes, error: type[DermServeError]) -> None:
    with pytest.raises(error):
        clean_image(data, LIMITS)


def test_millions_of_segments_are_refused_early() -> None:
    jpeg = encode(scene(), "JPEG")
    many = jpeg[:2] + b"\xff\xe1\0\2" * 500_000 + jpeg[2:]
    with pytest.raises(TruncatedImage, match="4096 segments"):
        clean_image(many)


def test_a_picture_that_grows_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLEAN_BYTES", 20_000)
    noise = np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8)
    small = encode(Image.fromarray(noise), "WEBP", quality=1)
    assert len(small) < 20_000
    with pytest.raises(ImageTooLarge, match=r"limit is 0 MB\. Send it as JPEG"):
        clean_image(small)


@pytest.mark.parametrize("name", ["baseline", "progressive", "CMYK", "restarts"])
def test_every_beginning_of_a_jpeg_is_refused(name: str) -> None:
    for beginning in prefixes(JPEGS[name](), 150):
        with pytest.raises(DermServeError):
            clean_image(beginning)


SMALL = {
    name: (JPEGS | OTHERS)[name]()
    for name in (
        *("baseline", "progressive", "restarts", "RGB", "CMYK", "two pictures"),
        *("PNG P", "deep PNG", "transparent GIF", "WebP", "TIFF", "JPEG in TIFF"),
    )
}


@given(
    st.sampled_from(sorted(SMALL)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_changed_bytes(name: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(SMALL[name])
    for place, value in changes:
        # Cubed, because headers are where a change does most and they come first.
        data[int(place**3 * len(data))] = value
    cleaned = _outcome(_check, bytes(data))
    decoded = _outcome(lambda data: decode_image(data, LIMITS), bytes(data))
    if isinstance(cleaned, DermServeError):
        assert 400 <= cleaned.status < 500
    elif not isinstance(decoded, DermServeError):  # else what was broken has been left out
        assert np.array_equal(cleaned.pixels, decoded)


def _outcome(function: Callable[[bytes], T], data: bytes) -> T | DermServeError:
    try:
        return function(data)
    except DermServeError as error:
        return error
