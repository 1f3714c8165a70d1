"""Torch on the CPU: the fallback where OpenVINO does not run."""

from __future__ import annotations

import numpy as np
import torch

from models.architecture import load_classifier
from models.package import WEIGHTS_FILE, ModelPackage
from serve_app.engines.base import EngineInfo, Images, Outputs


class TorchCpuEngine:
    """The package's weights in torch, float32, channels last.

    Args:
        package: must hold the weights.
        threads: cores of the one lane.
    """

    max_piece = 8

    def __init__(self, package: ModelPackage, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        model = load_classifier(package.file(WEIGHTS_FILE))
        self._model = model.to(memory_format=torch.channels_last)
        self.info = EngineInfo(name="torch-cpu", device="cpu", precision="f32", lanes=1)

    @torch.inference_mode()
    def forward(self, images: Images) -> Outputs:
        """See `Engine.forward`."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        said = self._model.describe(batch)
        return Outputs(said.logits.numpy(), said.statistics.numpy())
