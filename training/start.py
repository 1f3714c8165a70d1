"""The start of a run: ImageNet's backbone, or a network that is already trained."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from models.architecture import LesionClassifier, load_classifier, load_imagenet_features
from models.errors import InvalidPackage
from models.package import WEIGHTS_FILE, ModelPackage, sha256_of
from training.settings import TrainingSettings


def start_file(start: Path | None) -> Path | None:
    """The safetensors file of a start: a package folder stands for its weights.

    Raises:
        InvalidPackage: if there is no such file, or no valid package in the folder.
    """
    if start is None:
        return None
    if start.is_dir():
        return ModelPackage.load(start).file(WEIGHTS_FILE)
    if not start.is_file():
        raise InvalidPackage(
            f"{start} does not exist. Name a safetensors file or the folder of a model package."
        )
    return start


def name_of(start: Path | None) -> str:
    """What tells one start from another: the file's SHA-256, or `imagenet`."""
    return "imagenet" if start is None else sha256_of(start)


def start_network(start: Path | None, settings: TrainingSettings) -> LesionClassifier:
    """The network that training begins with.

    Args:
        start: a whole network (`weights.safetensors` of a package), or a backbone in the layout
            of `mobilenet_v2().features`, which gets a random head; None downloads ImageNet's.
        settings: its seed decides the head.

    Raises:
        InvalidPackage: if the file is missing, damaged or of another layout, or if there is
            nothing to download from.
    """
    torch.manual_seed(settings.seed)
    model = LesionClassifier(dropout=settings.dropout)
    if start is not None and _is_whole(start):
        model.load_state_dict(load_classifier(start).state_dict())
    else:
        load_imagenet_features(model, start)
    return model


def _is_whole(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return any(name.startswith("features.") for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InvalidPackage(f"{path} cannot be read as a safetensors file: {error}") from error
