"""MobileNetV2 with a seven-class head, in torch: what is trained, exported and run on CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from models.classes import CLASSES
from models.errors import InvalidPackage

MEAN = (0.485, 0.456, 0.406)
"""ImageNet channel means (RGB, of values in 0..1) that the backbone was pretrained with."""
STD = (0.229, 0.224, 0.225)


NOVELTY_BLOCK = 13
"""Index in `features` of the block whose output tells novelty: 96 channels of 14 x 14."""


class LesionClassifier(nn.Module):
    """uint8 or float images in 0..255 to logits; normalisation is the first operation.

    `forward` takes (batch, 3, 224, 224) and returns float (batch, 7) logits.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        network = mobilenet_v2(num_classes=len(CLASSES), dropout=dropout)
        self.features = network.features
        self.classifier = network.classifier
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def describe(self, images: torch.Tensor) -> Description:
        """Everything that the network says of some images.

        Args:
            images: uint8 or float in 0..255, shape (batch, 3, 224, 224).
        """
        values = (images.to(self.mean.dtype) - self.mean) / self.std
        middle = self.features[: NOVELTY_BLOCK + 1](values)
        mean = middle.mean(dim=(2, 3))
        deviation = (middle - mean[:, :, None, None]).square().mean(dim=(2, 3)).sqrt()
        pooled = self.features[NOVELTY_BLOCK + 1 :](middle).mean(dim=(2, 3))
        return Description(self.classifier(pooled), pooled, torch.cat([mean, deviation], dim=1))

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Float (batch, 1280): the last feature map averaged over its positions."""
        normalised = (images.to(self.mean.dtype) - self.mean) / self.std
        pooled: torch.Tensor = self.features(normalised).mean(dim=(2, 3))
        return pooled

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.pooled_features(images))
        return logits


class Description(NamedTuple):
    """What the network says of a batch."""

    logits: torch.Tensor
    """Float, shape (batch, 7)."""
    features: torch.Tensor
    """Pooled, float, shape (batch, 1280)."""
    statistics: torch.Tensor
    """What novelty is told from, float, shape (batch, 192); see `models.novelty`."""


def load_imagenet_features(model: LesionClassifier, path: Path | None) -> None:
    """Start the backbone from ImageNet.

    Args:
        model: changed in place.
        path: a safetensors file in the layout of `mobilenet_v2().features`; None
            downloads torchvision's own weights.

    Raises:
        InvalidPackage: if the file is missing, damaged or of another layout, or if there is
            nothing to download from.
    """
    if path is None:
        source = _downloaded_features()
    elif not path.is_file():
        raise InvalidPackage(f"{path} does not exist. Point --weights at a safetensors file.")
    else:
        source = _read_weights(path)
    try:
        model.features.load_state_dict(source)
    except RuntimeError as error:
        raise InvalidPackage(f"{path} holds the weights of another network: {error}") from error


def load_classifier(path: Path) -> LesionClassifier:
    """Read a trained network, in evaluation mode on the CPU.

    Args:
        path: `weights.safetensors` of a model package.

    Raises:
        InvalidPackage: if the file does not fit this network.
    """
    model = LesionClassifier()
    try:
        model.load_state_dict(_read_weights(path))
    except RuntimeError as error:
        raise InvalidPackage(f"{path} does not hold this network's weights: {error}") from error
    return model.eval()


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidPackage(f"{path} cannot be read as a safetensors file: {error}") from error


def _downloaded_features() -> dict[str, torch.Tensor]:
    try:
        network = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2)
    except OSError as error:
        raise InvalidPackage(
            f"The ImageNet weights cannot be downloaded ({error}). Download them elsewhere and "
            "point --weights at a safetensors file."
        ) from error
    features: dict[str, torch.Tensor] = network.features.state_dict()
    return features
