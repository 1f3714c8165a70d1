"""The preprocessing contract: encoded bytes of any supported image to uint8 (224, 224, 3).

Training, evaluation and serving all call `decode_image`, so what the model learned on is
what it sees. The steps: sniff the format, check the size before decoding, decode, scale
the short side to 224 with an antialiased triangle filter, crop the centre. Normalisation
is not done here: it is the first operation of the inference graph, so one byte per value
travels between processes.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from models.errors import DermServeError, EmptyImage, TruncatedImage, UnsupportedImage
from models.jpeg_header import read_jpeg_header, without_metadata
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.pieces import CountedFile, check_pieces
from models.tiff_directory import ORIENTATION_TAG, exif_orientation

IMAGE_SIZE: Final = 224
"""Height and width in pixels of what the model sees."""

SUPPORTED_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")

# Of PNG, GIF and TIFF, which Pillow does not recognise where their header is cut off.
_SIGNATURES = (b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNDO_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TILE_WIDTH_TAG, _TILE_LENGTH_TAG = 322, 323
_WITH_EXIF = ("PNG", "WEBP")
_RUN_LENGTHS = "bmp_rle"  # the one decoder of Pillow that is written in Python
_SCAN_MARKER = b"\xff\xda"
# Resizing in one of these modes and converting afterwards gives the same picture as the
# other order and touches far fewer pixels.
_RESIZABLE_MODES = frozenset({"L", "LA", "RGB", "RGBA"})
_WHITE = (255, 255, 255, 255)

# Pillow's own bomb check warns at a size of its own choosing; ours is in `ImageLimits`.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of every damaged metadata tag, as many as a sender likes to put in.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> npt.NDArray[np.uint8]:
    """Decode one image and bring it to the model's input.

    EXIF orientation is applied, transparency is laid on white, grey and palette images
    become RGB, 16-bit samples are scaled to 8 bits, and of several frames the first is
    taken.

    Args:
        data: an encoded JPEG, PNG, BMP, GIF, WebP or TIFF image.
        limits: sizes that are refused.

    Returns:
        uint8, shape (224, 224, 3), RGB, contiguous.

    Raises:
        EmptyImage: if there are no bytes.
        UnsupportedImage: if the bytes are in none of the formats.
        TruncatedImage: if decoding fails on the way.
        ImageTooLarge, ImageTooSmall: if the size is outside `limits`.
    """
    if not data:
        raise EmptyImage("The image has no bytes. Send the file's contents.")
    if data[:3] == b"\xff\xd8\xff":
        return _decode_jpeg(data, limits)
    return np.array(_to_rgb(_fit(decode_upright(data, limits))))


def _decode_jpeg(data: bytes, limits: ImageLimits) -> npt.NDArray[np.uint8]:
    """Decode a JPEG, scaled down in the DCT domain as far as the target allows."""
    header = read_jpeg_header(data)
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise _truncated() from error
    limits.check_jpeg(width, height)
    if not header.baseline:
        # Counting scan markers takes a tenth as long as decoding; the header, a thousandth.
        limits.check_passes(data.count(_SCAN_MARKER), width, height)
    if colorspace in ("CMYK", "YCCK"):  # libjpeg-turbo does not convert these to RGB
        if not header.whole:  # Pillow would look for the next segment byte by byte
            raise _truncated()
        square = _to_rgb(_fit(decode_upright(without_metadata(data), limits)))
    else:
        try:
            pixels = simplejpeg.decode_jpeg(
                data, "RGB", min_height=IMAGE_SIZE, min_width=IMAGE_SIZE
            )
        except ValueError as error:
            raise _truncated() from error
        square = _fit(Image.fromarray(pixels))
    # A centred square crop may be turned after cropping.
    return np.array(_orient(square, exif_orientation(header.exif)))


def decode_upright(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode one image of any format but JPEG at its full size.

    Returns:
        The first frame, upright, in mode L, LA, RGB or RGBA. Of a JPEG, which is only decoded
        here if it is CMYK, the image is scaled down as far as the model's input allows, and as
        it is stored.

    Raises:
        UnsupportedImage, TruncatedImage, ImageTooLarge, ImageTooSmall: as `decode_image`.
    """
    check_pieces(data)
    try:
        image = Image.open(CountedFile(data), formats=SUPPORTED_FORMATS)
    except DermServeError:
        raise
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES):
            raise _truncated() from error
        raise UnsupportedImage(
            f"The bytes are no image in a supported format. Send one of "
            f"{', '.join(SUPPORTED_FORMATS)}."
        ) from error
    except Exception as error:  # a broken header can raise almost anything in Pillow
        raise _truncated() from error
    with image:
        try:
            check = limits.check_jpeg if image.format == "JPEG" else limits.check
            check(*image.size)
            limits.check_tiles(*_tile_size(image))
            if any(tile.codec_name == _RUN_LENGTHS for tile in image.tile):
                limits.check_run_lengths(*image.size)
            image.draft("RGB", (IMAGE_SIZE, IMAGE_SIZE))
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _hide_tags(image)
            image.load()
            # After loading, because it may stand behind the pixels. Pillow itself turns a TIFF.
            exif = image.info.get("exif", b"") if image.format in _WITH_EXIF else b""
            return _orient(_to_resizable(image), exif_orientation(exif))
        except DermServeError:
            raise
        except Exception as error:  # as above
            raise _truncated() from error


def _tile_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of a TIFF's tiles, which may be larger than the image; else 0."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_TILE_WIDTH_TAG, 0)), int(tags.get(_TILE_LENGTH_TAG, 0))


def _to_resizable(image: Image.Image) -> Image.Image:
    """Convert to a mode in which pixels may be averaged: no palettes, no deep samples."""
    if image.mode in _RESIZABLE_MODES and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnsupportedImage(
            "The image has 32-bit samples, whose range is not defined. Save it with 8 or 16 bits."
        )
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _fit(image: Image.Image) -> Image.Image:
    """Scale the short side to 224 and crop the centre, in one resampling step."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize(
        (IMAGE_SIZE, IMAGE_SIZE),
        Image.Resampling.BILINEAR,
        box=(left, top, left + side, top + side),
        reducing_gap=3.0,
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def _hide_tags(image: TiffImagePlugin.TiffImageFile) -> None:
    """Let Pillow find the orientation of a TIFF, which it turns by it, and no other EXIF.

    While it loads the pixels, it makes numbers of all directories that the first one points to.
    """
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = image.tag_v2.get(ORIENTATION_TAG, 1)
    image.getexif = lambda: exif  # type: ignore[method-assign]


def jpeg_orientation(data: bytes) -> int:
    """The orientation (1 to 8) of a JPEG with EXIF; 1 where that says nothing readable.

    Raises:
        ImageTooLarge: if it has thousands of segments.
    """
    return exif_orientation(read_jpeg_header(data).exif)


def _orient(image: Image.Image, orientation: int) -> Image.Image:
    """Undo an EXIF orientation."""
    transpose = _UNDO_ORIENTATION.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _truncated() -> TruncatedImage:
    return TruncatedImage(
        "The image is damaged or incomplete and cannot be decoded. Send the whole original file."
    )
