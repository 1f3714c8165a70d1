"""A lane's memory on the host: images on their way to the GPU and rows on their way back."""

from __future__ import annotations

import numpy as np
import torch

from models.classes import CLASSES
from models.novelty import STATISTICS
from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import Images, Outputs

LOGITS = len(CLASSES)
ROW = LOGITS + STATISTICS
"""Values that come back for an image: its logits, then its statistics, in one copy."""


class Staging:
    """Allocated once and used for one batch after another.

    Args:
        capacity: images in the largest batch.
        pinned: whether the pages stay where they are, so that the GPU copies them by itself
            while this process goes on; needs CUDA.
    """

    def __init__(self, capacity: int, *, pinned: bool) -> None:
        self.images = torch.empty(
            (capacity, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, pin_memory=pinned
        )
        """uint8, shape (capacity, 224, 224, 3), RGB."""
        self.rows = torch.empty((capacity, ROW), dtype=torch.float32, pin_memory=pinned)
        """float32, shape (capacity, 199)."""
        # The same memory for NumPy, which is where images come from and answers go.
        self._pixels = self.images.numpy()
        self._values = self.rows.numpy()

    def put(self, images: Images) -> None:
        """Copy images into the first places.

        Args:
            images: uint8, each of shape (224, 224, 3); at least one, at most `capacity`.
        """
        np.stack(images, out=self._pixels[: len(images)], casting="no")

    def take(self, outputs: Outputs) -> None:
        """Copy the first rows out, as many as `outputs` has room for."""
        values = self._values[: len(outputs.logits)]
        outputs.logits[:] = values[:, :LOGITS]
        outputs.statistics[:] = values[:, LOGITS:]
