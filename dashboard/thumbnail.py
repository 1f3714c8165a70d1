"""Thumbnails: small pictures that a table carries with it, made of files that may be hostile."""

from __future__ import annotations

import base64
import io
import warnings

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
"""What the server takes; no other decoder is tried."""

MAX_PIXELS = 50_000_000
"""More are not decoded, which the server does not do either."""

_QUALITY = 75


def thumbnail(data: bytes, side: int = 72) -> bytes | None:
    """A small JPEG; None for what cannot be shown.

    Args:
        data: of an image file, whatever it claims to be.
        side: longest side of the picture in pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.draft("RGB", (2 * side, 2 * side))
                picture = ImageOps.exif_transpose(image).convert("RGB")
                picture.thumbnail((side, side))
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=_QUALITY)
        return written.getvalue()
    except (
        Exception
    ):  # no picture, too large a one, or a decoder that stumbles over what was made to trip it
        return None


def data_url(data: bytes, side: int = 72) -> str | None:
    """A thumbnail as a URL that needs no server; None for what cannot be shown."""
    small = thumbnail(data, side)
    if small is None:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
