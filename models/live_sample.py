"""A live sample: what the network said of some of the images that a replica answered lately.

It travels from the classifier to the trainer, which watches for drift. No pixels, no answer's
request and nothing of who asked is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class LiveSample:
    """The images of the lowest priorities among all that were answered.

    Every image draws its priority evenly from 0..1, so that the lowest of several replicas
    together are a fair sample of what they answered together.
    """

    package_hash: str
    """Of the model that answered: SHA-256 of its `model.json`."""
    images: int
    """How many were answered in all."""
    priorities: npt.NDArray[np.float64]
    """Shape (sampled,)."""
    statistics: npt.NDArray[np.float16]
    """What novelty is told from, shape (sampled, 192)."""
    logits: npt.NDArray[np.float32]
    """Shape (sampled, 7)."""

    def __len__(self) -> int:
        return len(self.priorities)
