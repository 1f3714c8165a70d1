"""Live samples of random numbers, as replicas send them."""

from __future__ import annotations

import numpy as np

from models.classes import CLASSES
from models.live_sample import LiveSample
from models.novelty import STATISTICS


def sample_of(
    images: int, *, package_hash: str = "a" * 64, seed: int = 0, mark: float | None = None
) -> LiveSample:
    """All of some images.

    Args:
        images: how many.
        package_hash: of the model that answered.
        seed: of the numbers.
        mark: what every number of the statistics is; None draws them.
    """
    random = np.random.default_rng(seed)
    statistics = random.normal(size=(images, STATISTICS)).astype(np.float16)
    if mark is not None:
        statistics[:] = mark
    logits = random.normal(0, 3, (images, len(CLASSES))).astype(np.float32)
    return LiveSample(package_hash, images, random.random(images), statistics, logits)
