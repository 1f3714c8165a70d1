"""Decoded images in memory: what training and evaluation iterate over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from data.ham10000 import LesionImage
from models.classes import CLASSES
from models.errors import DermServeError
from models.preprocessing import IMAGE_SIZE, decode_image


@dataclass(frozen=True)
class ImageTensors:
    """The images of one split; about 150 KB each."""

    pixels: torch.Tensor
    """uint8, shape (images, 3, 224, 224), channels last in memory."""
    labels: torch.Tensor
    """int64 columns of `CLASSES`, shape (images,)."""
    sharp: torch.Tensor
    """bool, shape (images,)."""
    unreadable: tuple[str, ...]
    """Ids of images that could not be decoded and are left out."""

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self) -> torch.Tensor:
        """int64, shape (7,)."""
        return torch.bincount(self.labels, minlength=len(CLASSES))


def load_images(
    images: Sequence[LesionImage], on_image: Callable[[], None] = lambda: None
) -> ImageTensors:
    """Decode images with the serving contract, in threads.

    Args:
        images: the split.
        on_image: called in this thread after each image, for a progress bar; what it raises
            ends the decoding.
    """
    pixels = torch.empty((len(images), IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8)

    def load(index: int) -> bool:
        try:
            pixels[index] = torch.from_numpy(decode_image(images[index].path.read_bytes()))
        except (DermServeError, OSError):
            return False
        return True

    readable = torch.zeros(len(images), dtype=torch.bool)
    with ThreadPoolExecutor() as pool:
        for index, ok in enumerate(pool.map(load, range(len(images)))):
            readable[index] = ok
            on_image()
    labels = torch.tensor([CLASSES.index(image.diagnosis) for image in images], dtype=torch.int64)
    sharp = torch.tensor([image.sharp for image in images], dtype=torch.bool)
    unreadable = tuple(
        image.image_id for image, ok in zip(images, readable.tolist(), strict=True) if not ok
    )
    if unreadable:
        pixels, labels, sharp = pixels[readable], labels[readable], sharp[readable]
    return ImageTensors(pixels.permute(0, 3, 1, 2), labels, sharp, unreadable)


def unreadable_warning(split: str, image_ids: Sequence[str]) -> str:
    """What is said of images that are left out."""
    return (
        f"{len(image_ids)} images of the {split} split cannot be read and are left out: "
        f"{', '.join(image_ids[:10])}."
    )
