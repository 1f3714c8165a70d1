"""An image to send: a path, the bytes of a file, or an open file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ImageSource = str | os.PathLike[str] | bytes | BinaryIO
"""Text is a path. What a file is called stays on this machine: names may tell who a patient is."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image in memory, so that it can be sent again."""

    name: str
    """What the caller calls it; empty for bytes."""
    data: bytes
    """As encoded: JPEG, PNG, BMP, GIF, WebP or TIFF."""


def read_image(source: ImageSource) -> Image:
    """Read one image, at once.

    Raises:
        OSError: if its file cannot be read.
    """
    if isinstance(source, bytes):
        return Image("", source)
    if isinstance(source, str | os.PathLike):
        return Image(os.fspath(source), Path(source).read_bytes())
    return Image(str(getattr(source, "name", "")), source.read())


def read_images(sources: Iterable[ImageSource]) -> Iterable[Image]:
    """Read images one after the other, as they are asked for.

    Raises:
        TypeError: if it is one image and not several.
        OSError: if a file cannot be read.
    """
    if isinstance(sources, str | bytes):
        raise TypeError("This takes several images. Put the one into a list.")
    return map(read_image, sources)
