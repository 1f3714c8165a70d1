"""The reference of a package: some images, and what its network said of them when it was made.

A replica that is about to serve a package runs its engine over the images first. A processor,
driver or library that computes something else is found before any user meets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.preprocessing import IMAGE_SIZE

TOLERANCES = {"f32": 0.05, "bf16": 0.25, "int8": 0.5}
"""Largest relative error of an image's logits, by the precision that an engine computes in.

Measured with champion 2 on 70 synthetic lesions, the worst image each: OpenVINO in float32, the
graph's weights rounded to half precision, 0.013; in bf16 0.09; INT8 by NNCF 0.16. Red and blue
exchanged give 0.8 in the median and 2.3 at worst."""


@dataclass(frozen=True)
class Reference:
    """Images with the logits that the network gave in float32."""

    images: npt.NDArray[np.uint8]
    """Shape (images, 224, 224, 3), RGB, at least one."""
    logits: npt.NDArray[np.float32]
    """Shape (images, 7)."""

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        save_file({"images": self.images, "logits": self.logits}, path)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what `save` wrote.

        Raises:
            InvalidPackage: if the file is missing, damaged or of another shape.
        """
        try:
            tensors = load_file(path)
            reference = cls(tensors["images"], tensors["logits"])
        except (OSError, SafetensorError, KeyError) as error:
            raise InvalidPackage(f"{path} cannot be read as a reference: {error}") from error
        images, logits = reference.images, reference.logits
        count = images.shape[0] if images.ndim else 0
        if (
            not count
            or images.shape != (count, IMAGE_SIZE, IMAGE_SIZE, 3)
            or logits.shape != (count, len(CLASSES))
            or images.dtype != np.uint8
            or logits.dtype != np.float32
            or not np.isfinite(logits).all()
        ):
            raise InvalidPackage(
                f"{path} is no reference: it holds images of shape {images.shape} and logits of "
                f"shape {logits.shape}. Make the package again."
            )
        return reference


def check_reference(reference: Reference, logits: npt.NDArray[np.float32], precision: str) -> None:
    """Refuse an engine that says something else of the images than the network did.

    Args:
        reference: of the package that the engine runs.
        logits: what the engine gave for `reference.images`, shape (images, 7).
        precision: that it computes in, as `EngineInfo.precision` names it: `f32`, `bf16`, or
            `int8 and ...`.

    Raises:
        InvalidPackage: if the precision is another, a value is not finite, or an image's logits
            are further away than `TOLERANCES` allows. Distances are relative to how far the
            network's own logits are from their mean.
    """
    tolerance = TOLERANCES.get(precision.partition(" ")[0])
    if tolerance is None:
        raise InvalidPackage(
            f"There is no tolerance for {precision} in the self-test. Serve in one of "
            f"{', '.join(TOLERANCES)}."
        )
    if logits.shape != reference.logits.shape or not np.isfinite(logits).all():
        raise InvalidPackage(
            f"The self-test failed: the engine gave logits of shape {logits.shape}, all finite: "
            f"{bool(np.isfinite(logits).all())}, where {reference.logits.shape} is right. Serve "
            "another version, or this one on another machine."
        )
    spread = reference.logits - reference.logits.mean(axis=1, keepdims=True)
    errors = np.linalg.norm(logits - reference.logits, axis=1)
    worst = float((errors / np.maximum(np.linalg.norm(spread, axis=1), 1e-6)).max())
    if worst > tolerance:
        raise InvalidPackage(
            f"The self-test failed: computing in {precision}, the engine's logits are "
            f"{worst:.2f} away from the package's own, {tolerance} is allowed. Serve another "
            "version, or this one on another machine."
        )
