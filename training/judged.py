"""Judged images: what a model said of a split, beside what is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.ham10000 import LesionImage
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.errors import DermServeError

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

Target = Literal["malignant", "mel"]
"""What a threshold is to find: mel, bcc and akiec together, or mel alone."""

_MEL = CLASSES.index("mel")


class InvalidPredictions(DermServeError):
    """Predictions cannot be judged: wrong shapes, values that are not finite, other labels."""

    code = "invalid_predictions"


@dataclass(frozen=True)
class Judged:
    """Predictions of one split, image by image.

    Raises:
        InvalidPredictions: if there is no image, a shape or label does not fit, a logit is not
            finite, or a row of probabilities does not sum to 1.
    """

    images: tuple[LesionImage, ...]
    logits: Floats
    """float32, shape (images, 7), as the network gives them; the largest is the decision."""
    probabilities: Floats
    """float32, shape (images, 7), calibrated; each row sums to 1."""
    labels: Labels
    """int64 columns of `CLASSES`, shape (images,)."""

    def __post_init__(self) -> None:
        shape = (len(self.images), len(CLASSES))
        if not self.images:
            raise InvalidPredictions("There is no image to judge. Choose a split that has some.")
        if self.logits.shape != shape or self.probabilities.shape != shape:
            raise InvalidPredictions(
                f"{shape[0]} images need logits and probabilities of shape {shape}, not "
                f"{self.logits.shape} and {self.probabilities.shape}. Predict the split again."
            )
        if not np.isfinite(self.logits).all():
            raise InvalidPredictions(
                "Some logits are not finite, so the network is broken. Train it again."
            )
        sums = self.probabilities.sum(axis=1)
        if not ((self.probabilities >= 0).all() and np.allclose(sums, 1, atol=1e-3)):
            raise InvalidPredictions(
                "Some probabilities are negative or do not sum to 1. Calibrate the logits again."
            )
        truth = [CLASSES.index(image.diagnosis) for image in self.images]
        if not np.array_equal(self.labels, truth):
            raise InvalidPredictions(
                "The labels are not the images' diagnoses. Pass both in the same order."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def predicted(self) -> Labels:
        """The decisions, columns of `CLASSES`, shape (images,)."""
        predicted: Labels = self.logits.argmax(axis=1)
        return predicted

    @property
    def confidence(self) -> Floats:
        """Probability of the decision, shape (images,); not always the largest of its row."""
        return self.probabilities[np.arange(len(self)), self.predicted]

    @property
    def malignant(self) -> Mask:
        """Whether an image is mel, bcc or akiec, shape (images,)."""
        return np.isin(self.labels, MALIGNANT_COLUMNS)

    @property
    def malignant_score(self) -> Floats:
        """p(mel) + p(bcc) + p(akiec), shape (images,), in 0..1."""
        # The sum of probabilities may round to just above 1.
        score: Floats = self.probabilities[:, MALIGNANT_COLUMNS].sum(axis=1)
        return np.minimum(score, 1)

    def scored(self, target: Target) -> tuple[Floats, Mask]:
        """Each image's score in 0..1 for a target, and whether it is one; both (images,)."""
        if target == "malignant":
            return self.malignant_score, self.malignant
        return self.probabilities[:, _MEL], self.labels == _MEL

    def count_lesions(self, mask: Mask | None = None) -> int:
        """Number of different lesions among the images, or among those of the mask."""
        chosen = np.ones(len(self), bool) if mask is None else mask
        return len({self.images[i].lesion_id for i in np.flatnonzero(chosen)})

    def select(self, mask: Mask) -> Judged:
        """The images of a mask, shape (images,), at least one of them."""
        return Judged(
            tuple(self.images[i] for i in np.flatnonzero(mask)),
            self.logits[mask],
            self.probabilities[mask],
            self.labels[mask],
        )
