"""Images to send: from a path, from bytes, from an open file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dermserve_client.image import Image, read_image, read_images


def test_each_source_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "lesion.jpg"
    path.write_bytes(b"picture")
    assert read_image(path) == read_image(str(path)) == Image(str(path), b"picture")
    with path.open("rb") as file:
        assert read_image(file) == Image(str(path), b"picture")
    assert read_image(io.BytesIO(b"picture")) == read_image(b"picture") == Image("", b"picture")


def test_a_missing_file_is_said_when_it_is_read(tmp_path: Path) -> None:
    images = iter(read_images([b"picture", tmp_path / "no.jpg"]))
    assert next(images).data == b"picture"
    with pytest.raises(FileNotFoundError):
        next(images)


@pytest.mark.parametrize("one", ["lesion.jpg", b"picture"])
def test_one_image_is_not_several(one: str | bytes) -> None:
    with pytest.raises(TypeError, match="into a list"):
        read_images(one)  # type: ignore[arg-type]
