"""Whatever bytes come, decoding gives a picture or an error of the tree, and no warning."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.synthetic import synthetic_lesion
from models.errors import (
    DermServeError,
    EmptyImage,
    ImageTooSmall,
    TruncatedImage,
    UnsupportedImage,
)
from models.limits import ImageLimits
from models.preprocessing import IMAGE_SIZE, decode_image
from tests.conftest import PROJECT
from tests.models.images import encode, prefixes

# What the module itself sets when it is imported, and pytest resets.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

# A mutated header may declare any size below the limit, so the limit keeps the tests quick.
LIMITS = ImageLimits(max_pixels=1_000_000)


def _samples() -> dict[str, bytes]:
    """Small valid files, one for each decoder behind the formats."""
    lesion = Image.fromarray(synthetic_lesion("mel", seed=1, width=48, height=40))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": encode(lesion, "JPEG", exif=exif),
        "progressive jpeg": encode(lesion, "JPEG", progressive=True),
        "cmyk jpeg": encode(lesion.convert("CMYK"), "JPEG"),
        "png": encode(lesion, "PNG", exif=exif),
        "palette png": encode(lesion.quantize(16), "PNG", transparency=3),
        "gif": encode(lesion, "GIF"),
        "webp": encode(lesion, "WEBP", exif=exif),
        "lossless webp": encode(lesion.convert("RGBA"), "WEBP", lossless=True),
        "bmp": encode(lesion, "BMP"),
        "tiff": encode(lesion, "TIFF", exif=exif),
        "deflated tiff": encode(lesion, "TIFF", compression="tiff_deflate"),
        "jpeg in tiff": encode(lesion, "TIFF", compression="jpeg"),
    }


SAMPLES = _samples()


def _decode(data: bytes) -> npt.NDArray[np.uint8] | DermServeError:
    try:
        return decode_image(data, LIMITS)
    except DermServeError as error:
        return error


def _is_picture(data: bytes) -> bool:
    """Decode, and check what every caller relies on."""
    outcome = _decode(data)
    if isinstance(outcome, DermServeError):
        assert type(outcome) is not DermServeError
        assert 400 <= outcome.status < 500
        assert outcome.message
        return False
    assert outcome.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert outcome.dtype == np.uint8
    assert outcome.flags.c_contiguous
    return True


def test_no_bytes() -> None:
    with pytest.raises(EmptyImage):
        decode_image(b"")


def _zip() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.jpg", SAMPLES["jpeg"])
    return buffer.getvalue()


STRANGERS = {
    "text": b"lesion on the left forearm\n",
    "json": b'{"image": "/9j/4AAQSkZJRg=="}',
    "html": b"<!DOCTYPE html><html><body><img src='a.jpg'></body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
    "zip": _zip(),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
    "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(24),
    "ppm": b"P6 64 64 255\n" + bytes(64 * 64 * 3),
    "tga": bytes((0, 0, 2, *[0] * 9, 64, 0, 64, 0, 24, 0)) + bytes(64 * 64 * 3),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "behind a byte": b"\0" + SAMPLES["jpeg"],
    "behind a line": b"\r\n" + SAMPLES["png"],
}


@pytest.mark.parametrize("data", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_image_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="Send one of JPEG, PNG"):
        decode_image(data)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_whole_file_is_a_picture(name: str) -> None:
    assert _is_picture(SAMPLES[name])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_beginning_of_a_file(name: str) -> None:
    for beginning in prefixes(SAMPLES[name], 150):
        _is_picture(beginning)
        if 20 < len(beginning) < len(SAMPLES[name]) - 32:
            # Its pixels are not all there, and half a lesion must not be classified.
            with pytest.raises(TruncatedImage):
                decode_image(beginning, LIMITS)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 16), (10_000, 1), (1, 10_000)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_what_shows_no_lesion_is_too_small(width: int, height: int, file_format: str) -> None:
    with pytest.raises(ImageTooSmall, match=f"{width} x {height}"):
        decode_image(encode(Image.new("RGB", (width, height)), file_format))


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_bytes(data: bytes) -> None:
    assert not _is_picture(data)


@given(st.sampled_from(sorted(SAMPLES)), st.binary(min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_behind_a_signature(name: str, data: bytes) -> None:
    _is_picture(SAMPLES[name][:30] + data)


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
@settings(max_examples=600, deadline=None)
def test_changed_bytes(name: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(SAMPLES[name])
    for place, value in changes:
        # Cubed, because headers are where a change does most and they come first.
        data[int(place**3 * len(data))] = value
    _is_picture(bytes(data))


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.sampled_from(sorted(SAMPLES)),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_the_beginning_of_one_file_and_the_end_of_another(
    first: str, second: str, cut: float, resume: float
) -> None:
    head, tail = SAMPLES[first], SAMPLES[second]
    _is_picture(head[: int(cut * len(head))] + tail[int(resume * len(tail)) :])


def test_no_warning_reaches_the_log(tmp_path: Path) -> None:
    """Under the module's own filter, which pytest resets in its own process."""
    choose = random.Random(1)
    for number in range(400):
        data = bytearray(choose.choice(list(SAMPLES.values())))
        for _ in range(choose.randrange(1, 5)):
            data[int(choose.random() ** 3 * len(data))] = choose.randrange(256)
        (tmp_path / f"{number:03}").write_bytes(data)
    script = """
        import pathlib, sys
        from models.errors import DermServeError
        from models.limits import ImageLimits
        from models.preprocessing import decode_image
        for path in pathlib.Path(sys.argv[1]).iterdir():
            try:
                decode_image(path.read_bytes(), ImageLimits(max_pixels=1_000_000))
            except DermServeError:
                pass
        """
    command = [sys.executable, "-W", "always", "-c", textwrap.dedent(script), str(tmp_path)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
