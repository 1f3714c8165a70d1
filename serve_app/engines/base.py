"""What every inference engine offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.novelty import STATISTICS
from models.preprocessing import IMAGE_SIZE
from serve_app.engines.ladder import rungs

Images = Sequence[npt.NDArray[np.uint8]]


class Outputs(NamedTuple):
    """What the network says of some images."""

    logits: npt.NDArray[np.float32]
    """Uncalibrated, shape (images, 7)."""
    statistics: npt.NDArray[np.float32]
    """What novelty is told from, shape (images, 192)."""

    @classmethod
    def empty(cls, count: int) -> Outputs:
        """Room for as many images."""
        return cls(
            np.empty((count, len(CLASSES)), np.float32), np.empty((count, STATISTICS), np.float32)
        )


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

    def forward(self, images: Images) -> Outputs:
        """Run the network.

        Args:
            images: uint8, each of shape (224, 224, 3), RGB, contiguous.

        Returns:
            float32 logits and statistics, a row per image.
        """
        ...


def warm_up(engine: Engine) -> None:
    """Run each batch size of the ladder once, so that no user pays for a first call.

    Raises:
        InvalidPackage: if the engine answers with another shape or with non-finite values.
    """
    image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 128, np.uint8)
    for size in rungs(engine.max_piece):
        outputs = engine.forward([image] * size)
        for output, expected in zip(outputs, Outputs.empty(size), strict=True):
            if output.shape != expected.shape or not np.isfinite(output).all():
                raise InvalidPackage(
                    f"The {engine.info.name} engine's self-test failed: {size} images gave an "
                    f"output of shape {output.shape} where {expected.shape} is right, finite: "
                    f"{bool(np.isfinite(output).all())}."
                )
