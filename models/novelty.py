"""Novelty: how unlike the training images an image is, told by what a middle layer sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.errors import InvalidPackage

STATISTICS = 192
"""Numbers that describe an image: mean and standard deviation of each of the 96 channels of
MobileNetV2's fourteenth block over its 14 x 14 positions. Blocks this deep see texture and
structure; the last ones keep only what tells the seven classes apart, and there a flower looks
like a lesion (docs/decisions/0006)."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NoveltyDetector:
    """The squared Mahalanobis distance to the training images, divided by its dimension.

    1 is what they have on average.

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples
    and Adversarial Attacks", NeurIPS 2018; here with one mean for all classes.
    """

    mean: FloatArray
    """float32, shape (192,)."""
    whitening: FloatArray
    """float32, shape (192, 192); turns deviations into independent ones of unit variance."""

    def score(self, statistics: FloatArray) -> FloatArray:
        """Novelty of some images, shape (images,).

        Args:
            statistics: float32, shape (images, 192).
        """
        deviations = (statistics - self.mean) @ self.whitening
        score: FloatArray = np.square(deviations).mean(axis=1)
        return score

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        save_file({"mean": self.mean, "whitening": self.whitening}, path)

    @classmethod
    def load(cls, path: Path) -> NoveltyDetector:
        """Read what `save` wrote.

        Raises:
            InvalidPackage: if the file is missing, damaged or of another shape.
        """
        try:
            tensors = load_file(path)
            detector = cls(tensors["mean"], tensors["whitening"])
        except (OSError, SafetensorError, KeyError) as error:
            raise InvalidPackage(f"{path} cannot be read as a novelty detector: {error}") from error
        shapes = detector.mean.shape, detector.whitening.shape
        if shapes != ((STATISTICS,), (STATISTICS, STATISTICS)):
            raise InvalidPackage(f"{path} describes images by other statistics: {shapes}.")
        return detector


def fit_novelty(statistics: FloatArray, shrinkage: float = 0.01) -> NoveltyDetector:
    """Learn what training images look like.

    Args:
        statistics: of training images, shape (images, 192), at least two images.
        shrinkage: share in 0..1 of the identity in the correlation matrix, which keeps
            directions that never vary from deciding everything.
    """
    values = statistics.astype(np.float64)
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    correlation = np.cov(((values - mean) / scale).T)
    variances, directions = np.linalg.eigh(correlation)
    variances = np.maximum(variances, 0) * (1 - shrinkage) + shrinkage
    whitening = directions / np.sqrt(variances) / scale[:, None]
    return NoveltyDetector(mean.astype(np.float32), whitening.astype(np.float32))
