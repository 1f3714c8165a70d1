"""The model of a peer: the champion behind the same decoding, engine and decision rules as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.peers.task import PeerEngine
from models.classes import CLASSES
from models.decision import calibrated_probabilities
from models.package import WEIGHTS_FILE, DecisionRules, ModelPackage
from models.preprocessing import IMAGE_SIZE, decode_image
from models.registry_process import resolve
from serve_app.engines import create_engine

Pixels = npt.NDArray[np.uint8]


class Network(Protocol):
    """What turns images into logits."""

    def logits(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Float32, shape (images, 7)."""
        ...


class OurEngine:
    """The OpenVINO engine of our own server, with one thread."""

    def __init__(self, package: ModelPackage) -> None:
        self._engine = create_engine(package, "openvino", threads=1)

    def logits(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        return self._engine.forward(images).logits


class TorchEager:
    """The champion's weights in torch as they come: float32, eager, with one thread."""

    def __init__(self, package: ModelPackage) -> None:
        # Other peers' processes need no torch.
        import torch

        from models.architecture import load_classifier

        self._torch = torch
        torch.set_num_threads(1)
        self._network = load_classifier(package.file(WEIGHTS_FILE))

    def logits(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        with self._torch.inference_mode():
            # Contiguous, as torchvision's ToTensor leaves it.
            batch = self._torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
            logits: npt.NDArray[np.float32] = self._network(batch).numpy()
        return logits


class PeerModel:
    """Bodies to probabilities."""

    def __init__(self, network: Network, rules: DecisionRules) -> None:
        self._network = network
        self._rules = rules

    @classmethod
    def load(cls, engine: PeerEngine) -> PeerModel:
        """The champion, warmed up.

        Raises:
            InvalidPackage: if the package lacks what the engine needs.
        """
        package = ModelPackage.load(resolve("champion"))
        network = OurEngine(package) if engine == "openvino" else TorchEager(package)
        model = cls(network, package.manifest.decision)
        image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 128, np.uint8)
        for size in (1, 4):
            model.probabilities([image] * size)
        return model

    @staticmethod
    def decode(body: bytes) -> Pixels:
        """Uint8, shape (224, 224, 3)."""
        return decode_image(body)

    def probabilities(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Calibrated, shape (images, 7), in the order of `CLASSES`."""
        return calibrated_probabilities(self._network.logits(images), self._rules)

    def answers(self, images: Sequence[Pixels]) -> list[dict[str, dict[str, float]]]:
        """What is sent as JSON: `{"probabilities": {"akiec": ...}}`, one for each image."""
        return [
            {"probabilities": dict(zip(CLASSES, row, strict=True))}
            for row in self.probabilities(images).tolist()
        ]

    def answer(self, body: bytes) -> dict[str, dict[str, float]]:
        """Everything that one request takes."""
        return self.answers([self.decode(body)])[0]
