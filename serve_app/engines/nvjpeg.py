"""A JPEG decoder on the GPU: nvJPEG through torchvision. Nothing serves with it.

Its pixels are not those of `models.preprocessing.decode_image`, which training and serving share
(docs/decisions/0015). `python -m benchmarks.gpu` measures how fast it is and how far off.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence

import simplejpeg
import torch
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg

from models.errors import InvalidConfiguration, TruncatedImage, UnsupportedImage
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.preprocessing import IMAGE_SIZE, jpeg_orientation

# How an EXIF orientation is undone: by exchanging the axes first or not, and by then turning
# these around, of (height, width).
_UNDO_ORIENTATION: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


class NvjpegDecoder:
    """Decodes lists of JPEGs to the model's input, for one thread.

    Args:
        limits: sizes that are refused.

    Raises:
        InvalidConfiguration: if torch finds no GPU.
    """

    def __init__(self, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        if not torch.cuda.is_available():
            raise InvalidConfiguration(
                "nvJPEG needs an NVIDIA GPU and none is visible. Decode with decode_image."
            )
        self._limits = limits

    def decode(self, images: Sequence[bytes]) -> torch.Tensor:
        """Decode images and bring each to 224 x 224: centre square, antialiased triangle filter.

        Args:
            images: encoded JPEGs, at least one; grey or in colour.

        Returns:
            uint8 on the GPU, shape (images, 224, 224, 3), RGB, contiguous; ready.

        Raises:
            UnsupportedImage: if one is no JPEG, or one for print (CMYK).
            TruncatedImage: if one is damaged. nvJPEG does not say which, and decodes none then.
            ImageTooLarge, ImageTooSmall: if the size of one is outside the limits.
        """
        for image in images:
            self._check(image)
        # It wants tensors of its own; a view of bytes would be one that may not be written to.
        encoded = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images]
        with warnings.catch_warnings():
            # Since 0.29, torchvision announces that its decoders will move to TorchCodec.
            warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)
            try:
                pictures = decode_jpeg(encoded, ImageReadMode.RGB, "cuda")
            except RuntimeError as error:
                raise TruncatedImage(
                    f"nvJPEG could not decode one of {len(images)} images: it is damaged, or of a "
                    f"kind that nvJPEG does not know. Decode them with decode_image. ({error})"
                ) from error
        pixels = fit(pictures, [jpeg_orientation(image) for image in images])
        # nvJPEG writes on a stream of its own and does not wait for this one: memory of these
        # pictures must not become that of the next ones before it was read.
        torch.cuda.current_stream().synchronize()
        return pixels

    def _check(self, image: bytes) -> None:
        if image[:3] != b"\xff\xd8\xff":
            raise UnsupportedImage("nvJPEG decodes JPEG only. Decode it with decode_image.")
        try:
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(image)
        except ValueError as error:
            raise TruncatedImage("The JPEG's header is damaged. Send the whole file.") from error
        self._limits.check_jpeg(width, height)
        if colorspace in ("CMYK", "YCCK"):
            raise UnsupportedImage("nvJPEG decodes no CMYK. Decode it with decode_image.")


def fit(pictures: Sequence[torch.Tensor], orientations: Sequence[int]) -> torch.Tensor:
    """Crop the centre square of pictures, scale it to 224 and turn it upright.

    Where the centre is between two pixels, the square begins half a pixel before the contract's.

    Args:
        pictures: uint8, each of shape (3, height, width), on one device; sizes may differ.
        orientations: of EXIF, 1 to 8.

    Returns:
        uint8, shape (pictures, 224, 224, 3), contiguous.
    """
    by_side: dict[int, list[int]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        by_side[min(picture.shape[1:])].append(index)
    shape = (len(pictures), IMAGE_SIZE, IMAGE_SIZE, 3)
    fitted = torch.empty(shape, dtype=torch.uint8, device=pictures[0].device)
    for side, indices in by_side.items():  # as many launches as there are sizes
        squares = torch.stack([_square(pictures[index], side) for index in indices])
        scaled = interpolate(
            squares.float(), (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True
        )
        fitted[indices] = scaled.round_().to(torch.uint8).permute(0, 2, 3, 1)
    for index, orientation in enumerate(orientations):
        if orientation in _UNDO_ORIENTATION:
            exchange, turned = _UNDO_ORIENTATION[orientation]
            upright = fitted[index].transpose(0, 1) if exchange else fitted[index]
            fitted[index] = upright.flip(turned).clone()
    return fitted


def _square(picture: torch.Tensor, side: int) -> torch.Tensor:
    height, width = picture.shape[1:]
    top, left = (height - side) // 2, (width - side) // 2
    return picture[:, top : top + side, left : left + side]
