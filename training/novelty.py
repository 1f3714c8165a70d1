"""Fitting novelty: what is like the training images, where to draw the line, what it catches."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field

from data.non_lesions import non_lesions
from models.architecture import LesionClassifier
from models.novelty import NoveltyDetector, fit_novelty
from training.augmentation import augment
from training.dataset import load_images
from training.predictions import Predictions, describe_pixels

ACCEPTANCE = 0.99
"""Share of held-out lesions that the threshold lets pass."""
MAX_FITTED = 2_000
"""Training images that are enough to know 192 numbers' mean and covariance."""


class NoveltyResult(BaseModel):
    """What the threshold does to images that did not choose it; shares in 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    acceptance: float = Field(description="share of validation lesions it was set to accept")
    test_false_alarms: float = Field(description="share of test lesions flagged")
    detected: float = Field(description="share of the pictures without a lesion flagged")
    detected_by_kind: dict[str, float]
    pictures: int


def learn_novelty(
    model: LesionClassifier,
    train: Predictions,
    validation: Predictions,
    test: Predictions,
    seed: int = 0,
) -> tuple[NoveltyDetector, NoveltyResult]:
    """Fit the detector on training images, its threshold on validation, and try it.

    Half of what it learns from are augmented images: other cameras' colours and frames are
    no news, and pictures of something else stay far away.

    Args:
        model: in evaluation mode.
        train: predictions of the training split.
        validation: of images that the threshold is set with.
        test: of images that only judge it.
        seed: of the choice of images and of their augmentation.
    """
    chosen = np.random.default_rng(seed).permutation(len(train))[:MAX_FITTED]
    tensors = load_images([train.images[index] for index in chosen])
    generator = torch.Generator().manual_seed(seed)
    size = tensors.pixels.shape[-1]
    augmented = [
        describe_pixels(model, augment(pixels, sharp, size, generator)).statistics.numpy()
        for pixels, sharp in zip(
            torch.split(tensors.pixels, 64), torch.split(tensors.sharp, 64), strict=True
        )
    ]
    detector = fit_novelty(np.concatenate([train.statistics[chosen], *augmented]))

    threshold = acceptance_threshold(detector.score(validation.statistics), ACCEPTANCE)
    kinds, pictures = non_lesions()
    said = describe_pixels(model, torch.from_numpy(pictures).permute(0, 3, 1, 2))
    flagged = detector.score(said.statistics.numpy()) > threshold
    names = np.array(kinds)
    result = NoveltyResult(
        threshold=threshold,
        acceptance=ACCEPTANCE,
        test_false_alarms=float((detector.score(test.statistics) > threshold).mean()),
        detected=float(flagged.mean()),
        detected_by_kind={
            kind: float(flagged[names == kind].mean()) for kind in dict.fromkeys(kinds)
        },
        pictures=len(kinds),
    )
    return detector, result


def acceptance_threshold(scores: npt.NDArray[np.float32], acceptance: float) -> float:
    """The least threshold that accepts at least this share of scores, `score <= threshold`.

    Args:
        scores: shape (images,), at least one.
        acceptance: in (0, 1].
    """
    rank = math.ceil(acceptance * len(scores) - 1e-9)
    return float(np.sort(scores)[max(rank, 1) - 1])
