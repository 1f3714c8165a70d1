"""Clean images: an upload without its metadata, as it is stored.

Cameras and clinics write names, places, dates and device numbers into image files. A JPEG
keeps its compressed pixels and their tables to the byte and loses everything else; an image of
any other format becomes a PNG of its first frame. `decode_image` sees the same in both.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.clean_jpeg import clean_jpeg
from models.errors import EmptyImage, ImageTooLarge
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.preprocessing import decode_image, decode_upright

MAX_CLEAN_BYTES = 32 * 1024 * 1024
"""Most bytes of a clean image: a small lossy WebP can become a PNG many times its size."""

# A third of the time of Pillow's own level, for a seventh more bytes.
_PNG_LEVEL = 1


@dataclass(frozen=True)
class CleanImage:
    """An image as it is stored: it can be decoded, and has no metadata."""

    data: bytes = field(repr=False)
    media_type: str
    """image/jpeg or image/png."""
    suffix: str
    """Of a file name: .jpg or .png."""
    width: int
    """Pixels of the upright picture."""
    height: int
    pixels: npt.NDArray[np.uint8] = field(compare=False, repr=False)
    """What `decode_image` makes of it: uint8, shape (224, 224, 3), RGB."""


def clean_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> CleanImage:
    """Remove all metadata, and whatever else a decoder does not need to show the picture.

    Of a JPEG only the orientation is kept, as EXIF with that one tag. In any other image the
    orientation is applied, transparency is kept but nothing beneath it, palettes become colours,
    and deep samples are cut to the 8 bits that the model sees. Two files that differ in their
    metadata alone become the same bytes, and what is clean stays as it is.

    Args:
        data: an encoded JPEG, PNG, BMP, GIF, WebP or TIFF image.
        limits: sizes that are refused.

    Raises:
        EmptyImage, UnsupportedImage, TruncatedImage, ImageTooSmall: as `decode_image`.
        ImageTooLarge: as `decode_image`, or if the clean image has over `MAX_CLEAN_BYTES`.
    """
    if not data:
        raise EmptyImage("The image has no bytes. Send the file's contents.")
    if data[:3] == b"\xff\xd8\xff":
        jpeg = clean_jpeg(data)
        clean, (width, height) = jpeg.data, jpeg.size
        media_type, suffix = "image/jpeg", ".jpg"
    else:
        clean, (width, height) = _png(data, limits)
        media_type, suffix = "image/png", ".png"
    if len(clean) > MAX_CLEAN_BYTES:
        raise ImageTooLarge(
            f"The image takes {len(clean) / 1e6:.0f} MB once it is stored without metadata; the "
            f"limit is {MAX_CLEAN_BYTES / 1e6:.0f} MB. Send it as JPEG, or a smaller version."
        )
    pixels = decode_image(clean, limits)
    return CleanImage(clean, media_type, suffix, width, height, pixels)


def _png(data: bytes, limits: ImageLimits) -> tuple[bytes, tuple[int, int]]:
    # A copy, because Pillow writes what it finds in `info`: colour profiles, text, comments.
    image = decode_upright(data, limits).copy()
    image.info.clear()
    if image.mode in ("LA", "RGBA"):
        # What is wholly transparent shows nothing, and can still hold what was to be hidden.
        image.paste(0, mask=image.getchannel("A").point([255] + [0] * 255))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue(), image.size
