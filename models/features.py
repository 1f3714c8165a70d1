"""Pooled features: what the backbone says of an image, and a file that replays it without images.

A machine that has no training images can still retrain and judge the network's head: the
features of the images that the champion learned from, and was judged on, are in its package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.classes import CLASSES
from models.errors import InvalidPackage

FEATURES = 1280
"""Width of the pooled features: MobileNetV2's last feature map, averaged over its positions."""

Features = npt.NDArray[np.float32]

_LEVELS = 255


@dataclass(frozen=True)
class ReplayFeatures:
    """The pooled features of one split, one 224 forward per image."""

    features: Features
    """float32, shape (images, 1280)."""
    labels: npt.NDArray[np.int64]
    """Columns of `CLASSES`, shape (images,)."""
    image_ids: tuple[str, ...]
    lesion_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def save_replay(path: Path, splits: Mapping[str, ReplayFeatures]) -> None:
    """Write the splits with one byte per number, evenly between its least and largest value.

    Args:
        path: of the safetensors file.
        splits: by name; at least one image in all.
    """
    together = np.concatenate([split.features for split in splits.values()])
    low = together.min(axis=0)
    step = np.maximum((together.max(axis=0) - low) / _LEVELS, 1e-12)
    tensors = {"low": low.astype(np.float32), "step": step.astype(np.float32)}
    for name, split in splits.items():
        tensors[f"{name}.features"] = np.rint((split.features - low) / step).astype(np.uint8)
        tensors[f"{name}.labels"] = split.labels.astype(np.uint8)
    ids = {name: [split.image_ids, split.lesion_ids] for name, split in splits.items()}
    save_file(tensors, path, metadata={"ids": json.dumps(ids, separators=(",", ":"))})


def load_replay(path: Path) -> dict[str, ReplayFeatures]:
    """Read what `save_replay` wrote; each feature is off by half a 255th of its range at most.

    Raises:
        InvalidPackage: if the file is missing, damaged or not of this form.
    """
    try:
        with safe_open(path, "numpy") as file:
            low, step = file.get_tensor("low"), file.get_tensor("step")
            return {
                name: _split(
                    file.get_tensor(f"{name}.features") * step + low,
                    file.get_tensor(f"{name}.labels"),
                    image_ids,
                    lesion_ids,
                )
                for name, (image_ids, lesion_ids) in json.loads(file.metadata()["ids"]).items()
            }
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InvalidPackage(f"{path} cannot be read as replay features: {error}") from error


def _split(
    features: Features,
    labels: npt.NDArray[np.uint8],
    image_ids: Sequence[str],
    lesion_ids: Sequence[str],
) -> ReplayFeatures:
    count = len(image_ids)
    if features.shape != (count, FEATURES) or labels.shape != (count,) or len(lesion_ids) != count:
        raise ValueError("its parts have different lengths")
    if (labels >= len(CLASSES)).any():
        raise ValueError("a label is none of the classes")
    return ReplayFeatures(
        features.astype(np.float32, copy=False),
        labels.astype(np.int64),
        tuple(image_ids),
        tuple(lesion_ids),
    )
