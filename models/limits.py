"""What the decoder refuses: sizes that are checked before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ImageTooLarge, ImageTooSmall

MAX_PASSES = 20
"""In which a progressive JPEG of the largest size may be drawn; real ones take ten, of CMYK 18.
Fifty take a decoder two seconds."""

# A BMP of run lengths may have a twentieth of the largest JPEG's pixels, at 0.1 us for each.
_RUN_LENGTHS_SHARE = 20


@dataclass(frozen=True)
class ImageLimits:
    """The range of sizes that are decoded, in pixels."""

    max_pixels: int = 50_000_000
    """Of a JPEG, which is scaled down while it is decoded; other formats may have half."""
    min_side: int = 16

    def check_jpeg(self, width: int, height: int) -> None:
        """Raise `ImageTooLarge` or `ImageTooSmall` if a JPEG's size is out of range."""
        self._check(width, height, self.max_pixels)

    def check(self, width: int, height: int) -> None:
        """The same for an image that has to be decoded at its full size."""
        self._check(width, height, self.max_pixels // 2)

    def check_tiles(self, width: int, height: int) -> None:
        """Raise `ImageTooLarge` if one tile of a TIFF holds more than the largest image."""
        if width * height > self.max_pixels // 2:
            raise ImageTooLarge(
                f"The TIFF has tiles of {width} x {height} pixels. Save it again without tiles."
            )

    def check_run_lengths(self, width: int, height: int) -> None:
        """Raise `ImageTooLarge` if a BMP of run lengths, decoded pixel by pixel, takes long."""
        if width * height > self.max_pixels // _RUN_LENGTHS_SHARE:
            raise ImageTooLarge(
                f"The BMP is compressed and has {width} x {height} pixels. Save it as PNG."
            )

    def check_passes(self, passes: int, width: int, height: int) -> None:
        """Raise `ImageTooLarge` if decoding would walk over the pixels too many times."""
        if passes * width * height > MAX_PASSES * self.max_pixels:
            raise ImageTooLarge(
                f"The JPEG takes {passes} passes over its {width} x {height} pixels. "
                "Save it again as a baseline JPEG."
            )

    def _check(self, width: int, height: int, max_pixels: int) -> None:
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"The image has {width} x {height} pixels; the limit of its format is "
                f"{max_pixels / 1e6:g} megapixels. Send a smaller version."
            )
        if min(width, height) < self.min_side:
            raise ImageTooSmall(
                f"The image has {width} x {height} pixels; each side needs at least "
                f"{self.min_side}. Send the original image."
            )


DEFAULT_LIMITS = ImageLimits()
