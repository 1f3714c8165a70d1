"""The drift reference of a package: what its network said of images that it did not learn from.

Live images are compared with it. It holds no pixels and no name of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.novelty import STATISTICS


@dataclass(frozen=True)
class DriftReference:
    """Validation images as the network sees them.

    Raises:
        InvalidPackage: if a shape does not fit, a value is not finite, a label is none of the
            classes, or there are fewer than two images.
    """

    statistics: npt.NDArray[np.float32]
    """What novelty is told from, shape (images, 192); see `models.novelty`."""
    logits: npt.NDArray[np.float32]
    """Shape (images, 7)."""
    labels: npt.NDArray[np.int64]
    """Columns of `CLASSES`, shape (images,)."""

    def __post_init__(self) -> None:
        count = len(self.labels)
        shapes = self.statistics.shape, self.logits.shape, self.labels.shape
        if count < 2 or shapes != ((count, STATISTICS), (count, len(CLASSES)), (count,)):
            raise InvalidPackage(f"These are no images to compare live ones with: {shapes}.")
        if not (np.isfinite(self.statistics).all() and np.isfinite(self.logits).all()):
            raise InvalidPackage("A drift reference has values that are not finite.")
        if not ((self.labels >= 0) & (self.labels < len(CLASSES))).all():
            raise InvalidPackage("A label of a drift reference is none of the classes.")

    def save(self, path: Path) -> None:
        """Write it as safetensors, the statistics in half precision: 0.4 MB for 1,000 images."""
        tensors: dict[str, npt.NDArray[Any]] = {
            "statistics": self.statistics.astype(np.float16),
            "logits": self.logits,
            "labels": self.labels.astype(np.uint8),
        }
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path) -> DriftReference:
        """Read what `save` wrote.

        Raises:
            InvalidPackage: if the file is missing, damaged or not of this form.
        """
        try:
            tensors = load_file(path)
            return cls(
                tensors["statistics"].astype(np.float32),
                tensors["logits"].astype(np.float32),
                tensors["labels"].astype(np.int64),
            )
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise InvalidPackage(f"{path} cannot be read as a drift reference: {error}") from error
        except InvalidPackage as error:
            raise InvalidPackage(f"{path}: {error.message} Make the package again.") from error
