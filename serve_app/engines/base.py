"""What every inference engine offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.preprocessing import IMAGE_SIZE

Images = Sequence[npt.NDArray[np.uint8]]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EngineInfo:
    """What runs, for `/health` and the log."""

    name: str
    device: str
    precision: str
    lanes: int


class Engine(Protocol):
    """A loaded model. `forward` may be called from as many threads at once as there are lanes."""

    info: EngineInfo
    max_piece: int
    """Images that one call of `forward` should get at most; more is slower, not wrong."""

    def forward(self, images: Images) -> Logits:
        """Run the network.

        Args:
            images: uint8, each of shape (224, 224, 3), RGB, contiguous.

        Returns:
            float32 logits, shape (len(images), 7), uncalibrated.
        """
        ...


def warm_up(engine: Engine) -> None:
    """Run batches of 1, 2, 4 ... once, so that no user pays for a first call.

    Raises:
        InvalidPackage: if the engine answers with another shape or with non-finite values.
    """
    image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 128, np.uint8)
    size = 1
    while size <= engine.max_piece:
        logits = engine.forward([image] * size)
        if logits.shape != (size, len(CLASSES)) or not np.isfinite(logits).all():
            raise InvalidPackage(
                f"The {engine.info.name} engine's self-test failed: {size} images gave logits "
                f"of shape {logits.shape}, finite: {bool(np.isfinite(logits).all())}."
            )
        size *= 2
