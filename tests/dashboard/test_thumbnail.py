"""Thumbnails of files that may be hostile."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dashboard import thumbnail as module
from dashboard.thumbnail import data_url, thumbnail

_SMALL = io.BytesIO()
Image.effect_noise((64, 48), 80).save(_SMALL, "JPEG")


def _size(data: bytes | None) -> tuple[int, int]:
    assert data is not None
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        return image.size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_every_format_that_the_server_takes(kind: str) -> None:
    written = io.BytesIO()
    Image.new("RGB", (400, 200), "red").save(written, kind)
    assert _size(thumbnail(written.getvalue(), 72)) == (72, 36)


def test_it_stands_upright(jpeg: bytes) -> None:
    with Image.open(io.BytesIO(jpeg)) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        written = io.BytesIO()
        image.save(written, "JPEG", exif=exif)
    width, height = _size(thumbnail(written.getvalue()))
    assert height > width


def test_it_goes_into_a_table(jpeg: bytes) -> None:
    url = data_url(jpeg)
    assert url is not None
    assert url.startswith("data:image/jpeg;base64,")
    assert len(url) < 10_000
    assert data_url(b"no picture") is None


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch, jpeg: bytes) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 1000)
    assert thumbnail(jpeg) is None


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_what_cannot_be_shown(data: bytes) -> None:
    assert thumbnail(data) is None


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_picture_never_raises(changes: list[tuple[int, int]]) -> None:
    data = bytearray(_SMALL.getvalue())
    for place, value in changes:
        data[place % len(data)] = value
    found = thumbnail(bytes(data))
    assert found is None or max(_size(found)) <= 72
