"""Predictions: what a trained network says of the images of one split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from data.ham10000 import LesionImage
from models.architecture import Description, LesionClassifier
from models.features import ReplayFeatures
from training.dataset import load_images
from training.loop import EVALUATION_BATCH, finite

# Decoded at once: 512 images are 77 MB, a whole training split would be a gigabyte.
_DECODED = 512


@dataclass(frozen=True)
class Answers:
    """A network's logits of labelled images: what it is judged by."""

    images: tuple[LesionImage, ...]
    labels: npt.NDArray[np.int64]
    """Columns of `CLASSES`, shape (images,)."""
    logits: npt.NDArray[np.float32]
    """Shape (images, 7)."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Predictions(Answers):
    """One forward per readable image, at 224 pixels and in float32."""

    features: npt.NDArray[np.float32]
    """Pooled, shape (images, 1280)."""
    statistics: npt.NDArray[np.float32]
    """What novelty is told from, shape (images, 192)."""
    unreadable: tuple[str, ...] = ()
    """Ids of images that could not be decoded and are left out."""

    @property
    def replay(self) -> ReplayFeatures:
        """What a package keeps of them."""
        return ReplayFeatures(
            self.features,
            self.labels,
            tuple(image.image_id for image in self.images),
            tuple(image.lesion_id for image in self.images),
        )


def predict(
    model: LesionClassifier,
    images: Sequence[LesionImage],
    on_image: Callable[[], None] = lambda: None,
) -> Predictions:
    """Decode images with the serving contract and run the network over them.

    Args:
        model: put into evaluation mode; its device is where it runs.
        images: of one split, at least one.
        on_image: called after each decoded image, for a progress bar.

    Raises:
        TrainingDiverged: if a logit is not finite.
    """
    model.eval()
    parts = [
        _predict(model, images[start : start + _DECODED], on_image)
        for start in range(0, len(images), _DECODED)
    ]
    unreadable = tuple(image_id for part in parts for image_id in part.unreadable)
    return Predictions(
        images=tuple(image for part in parts for image in part.images),
        labels=np.concatenate([part.labels for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        features=np.concatenate([part.features for part in parts]),
        statistics=np.concatenate([part.statistics for part in parts]),
        unreadable=unreadable,
    )


def describe_pixels(model: LesionClassifier, pixels: torch.Tensor) -> Description:
    """What the network says of uint8 or float pixels in 0..255, shape (n, 3, 224, 224).

    Returns:
        float32 tensors on the CPU.

    Raises:
        TrainingDiverged: if a logit is not finite.
    """
    device = next(model.parameters()).device
    parts = []
    with torch.inference_mode():
        for batch in torch.split(pixels, EVALUATION_BATCH):
            said = model.describe(batch.to(device).contiguous(memory_format=torch.channels_last))
            parts.append([tensor.float().cpu() for tensor in said])
    said = Description(*(torch.cat(part) for part in zip(*parts, strict=True)))
    finite(said.logits)
    return said


def _predict(
    model: LesionClassifier, images: Sequence[LesionImage], on_image: Callable[[], None]
) -> Predictions:
    tensors = load_images(images, on_image)
    unreadable = frozenset(tensors.unreadable)
    # A chunk without a single readable image still has rows, none.
    said = describe_pixels(model, tensors.pixels)
    return Predictions(
        images=tuple(image for image in images if image.image_id not in unreadable),
        labels=tensors.labels.numpy(),
        logits=said.logits.numpy(),
        features=said.features.numpy(),
        statistics=said.statistics.numpy(),
        unreadable=tensors.unreadable,
    )
