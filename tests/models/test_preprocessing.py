"""Every kind of picture comes out as the same uint8 RGB square, upright and undistorted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from models.errors import ImageTooLarge, ImageTooSmall, UnsupportedImage
from models.limits import ImageLimits
from models.preprocessing import IMAGE_SIZE, decode_image
from tests.models.images import deep_png, encode, scene, tiff

Pixels = npt.NDArray[np.uint8]
WHITE, RED, GREEN, BLUE = (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _difference(first: Pixels, second: Pixels) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def _plain(image: Image.Image) -> Pixels:
    """What an ordinary RGB image of the same colours becomes."""
    return decode_image(encode(image.convert("RGB"), "PNG"))


def _centre(pixels: Pixels) -> list[int]:
    return pixels[IMAGE_SIZE // 2, IMAGE_SIZE // 2].tolist()


@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 1.5),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 1.5),
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("GIF", {}, 4),  # 256 colours
        ("WEBP", {"quality": 95}, 2),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 1.5),
    ],
)
def test_formats(file_format: str, options: dict[str, Any], tolerance: float) -> None:
    picture = decode_image(encode(scene(), file_format, **options))
    assert picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert _difference(picture, _plain(scene())) <= tolerance


def test_a_picture_of_the_models_size_stays_as_it_is() -> None:
    picture = scene(IMAGE_SIZE, IMAGE_SIZE)
    assert np.array_equal(_plain(picture), np.asarray(picture))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_opaque_modes_keep_their_colours(mode: str) -> None:
    image = scene().convert(mode)
    assert np.array_equal(decode_image(encode(image, "PNG")), _plain(image))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "WEBP"])
def test_grey_becomes_rgb(file_format: str) -> None:
    picture = decode_image(encode(scene().convert("L"), file_format))
    assert _difference(picture, _plain(scene().convert("L"))) < 2
    assert np.ptp(picture.astype(int), axis=2).max() <= 3


@pytest.mark.parametrize("side", [300, 3000])
def test_cmyk_jpeg(side: int) -> None:
    picture = decode_image(encode(scene(side, side).convert("CMYK"), "JPEG", quality=95))
    assert _difference(picture, _plain(scene(side, side))) < 2


def test_transparency_is_laid_on_white() -> None:
    half = Image.new("RGBA", (64, 64), (200, 100, 0, 128))
    for file_format, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        assert _centre(decode_image(encode(half, file_format, **options))) == [227, 177, 127]
    grey = Image.new("LA", (64, 64), (100, 128))
    assert _centre(decode_image(encode(grey, "PNG"))) == [177] * 3


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_a_transparent_colour_is_laid_on_white(mode: str) -> None:
    image = Image.new("RGB", (64, 64), WHITE)
    image.paste((0, 0, 0), (0, 0, 32, 64))
    image = image.convert(mode)
    black = image.getpixel((0, 0))
    opaque = decode_image(encode(image, "PNG"))
    assert opaque[100, 20].tolist() == [0, 0, 0]
    assert decode_image(encode(image, "PNG", transparency=black)).min() == 255


def test_a_palettes_alpha_is_laid_on_white() -> None:
    image = Image.new("P", (64, 64))
    image.putpalette([200, 100, 0, *RED])
    data = encode(image, "PNG", transparency=bytes([128, 255]))
    assert _centre(decode_image(data)) == [227, 177, 127]
    assert _centre(decode_image(encode(image, "GIF", transparency=0))) == list(WHITE)


def test_hidden_colours_do_not_bleed_into_the_picture() -> None:
    image = Image.new("RGBA", (400, 300), (*RED, 0))
    image.paste((*BLUE, 255), (200, 0, 400, 300))
    picture = decode_image(encode(image, "PNG"))
    # From white to blue, red and green fall together; a red seam would part them.
    assert np.array_equal(picture[..., 0], picture[..., 1])


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(file_format: str) -> None:
    levels = np.tile(np.linspace(0, 65535, IMAGE_SIZE).astype(np.uint16), (IMAGE_SIZE, 1))
    picture = decode_image(encode(Image.fromarray(levels), file_format))
    assert np.array_equal(picture[..., 1], levels >> 8)


def test_16_bit_rgb_keeps_its_high_byte() -> None:
    deep = np.asarray(scene(IMAGE_SIZE, IMAGE_SIZE)).astype(np.uint16) * 257
    tags = {256: IMAGE_SIZE, 257: IMAGE_SIZE, 258: (16, 16, 16), 259: 1, 262: 2, 277: 3}
    for data in (deep_png(deep), tiff(tags, deep.tobytes())):
        assert np.array_equal(decode_image(data), deep >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_samples_are_refused(mode: str) -> None:
    with pytest.raises(UnsupportedImage, match="32-bit"):
        decode_image(encode(Image.new(mode, (64, 64)), "TIFF"))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(file_format: str) -> None:
    first, *others = (Image.new("RGB", (64, 48), colour) for colour in (GREEN, RED, BLUE))
    data = encode(first, file_format, save_all=True, append_images=others)
    red, green, blue = _centre(decode_image(data))
    assert green > 250
    assert max(red, blue) < 5


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height"),
    [(16, 16), (17, 2000), (3000, 16), (90, 160), (224, 224), (225, 1000), (4000, 3000)],
)
def test_sizes(file_format: str, width: int, height: int) -> None:
    picture = decode_image(encode(scene(width, height), file_format))
    assert picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    middle = np.asarray(scene(width, height))[height // 2, width // 2].astype(int)
    assert np.abs(_centre(picture) - middle).max() <= 8


@pytest.mark.parametrize(("width", "height"), [(672, 224), (224, 672), (900, 300), (300, 900)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_centre_is_kept(width: int, height: int, file_format: str) -> None:
    image = Image.new("RGB", (width, height), RED)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image.paste(GREEN, (left, top, left + side, top + side))
    inner = decode_image(encode(image, file_format, quality=95))[6:-6, 6:-6].astype(int)
    assert np.abs(inner - GREEN).max() <= 12


@pytest.mark.parametrize(
    ("width", "height"), [(600, 450), (450, 600), (1600, 700), (224, 300), (120, 90), (2048, 2048)]
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_circle_stays_a_circle(width: int, height: int, file_format: str) -> None:
    side = min(width, height)
    image = Image.new("L", (width, height), 255)
    box = ((width - side / 2) / 2, (height - side / 2) / 2)
    ImageDraw.Draw(image).ellipse((*box, box[0] + side / 2, box[1] + side / 2), fill=0)
    inside = decode_image(encode(image, file_format))[..., 0] < 128
    rows, columns = np.nonzero(inside)
    for places in (rows, columns):
        assert np.ptp(places) + 1 == pytest.approx(IMAGE_SIZE / 2, abs=2.5)
        assert places.mean() == pytest.approx((IMAGE_SIZE - 1) / 2, abs=1)


@pytest.mark.parametrize(("file_format", "enough"), [("JPEG", 5_000), ("PNG", 10_000)])
def test_limits_are_those_of_the_caller(file_format: str, enough: int) -> None:
    data = encode(scene(100, 50), file_format)
    with pytest.raises(ImageTooLarge, match=r"100 x 50 pixels; the limit of its format is 0\.004"):
        decode_image(data, ImageLimits(max_pixels=enough * 4 // 5))
    with pytest.raises(ImageTooSmall, match="100 x 50 pixels; each side needs at least 51"):
        decode_image(data, ImageLimits(min_side=51))
    assert decode_image(data, ImageLimits(max_pixels=enough, min_side=50)).any()
