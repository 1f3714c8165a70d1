"""The head: the network's last layer, as numbers, which make logits of pooled features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.features import Features

if TYPE_CHECKING:  # torch takes seconds, and a head needs none
    from models.architecture import LesionClassifier


@dataclass(frozen=True)
class Head:
    """Logits as a linear function of the pooled features."""

    weight: Features
    """float32, shape (7, 1280)."""
    bias: npt.NDArray[np.float32]
    """Shape (7,)."""

    @classmethod
    def of(cls, model: LesionClassifier) -> Head:
        """The head of a network, a copy."""
        layer = model.classifier[1]
        weight, bias = (tensor.detach().cpu().numpy().copy() for tensor in layer.parameters())
        return cls(weight, bias)

    def put_on(self, model: LesionClassifier) -> None:
        """Make it the head of a network."""
        layer = model.classifier[1]
        for tensor, value in zip(layer.parameters(), (self.weight, self.bias), strict=True):
            tensor.data.copy_(tensor.data.new_tensor(value))

    def logits(self, features: Features) -> npt.NDArray[np.float32]:
        """Shape (images, 7), of features of shape (images, 1280)."""
        return features @ self.weight.T + self.bias
