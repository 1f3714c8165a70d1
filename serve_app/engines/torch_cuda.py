"""Torch on CUDA: bf16, channels last, normalisation on the device."""

from __future__ import annotations

import numpy as np
import torch

from models.architecture import load_classifier
from models.errors import InvalidConfiguration
from models.package import WEIGHTS_FILE, ModelPackage
from serve_app.engines.base import EngineInfo, Images, Logits


class TorchCudaEngine:
    """The package's weights on the GPU that this process was given.

    Args:
        package: must hold the weights.

    Raises:
        InvalidConfiguration: if torch finds no GPU.
    """

    max_piece = 32

    def __init__(self, package: ModelPackage) -> None:
        if not torch.cuda.is_available():
            raise InvalidConfiguration(
                "The engine torch-cuda needs a GPU and none is visible. Give the classifier "
                "`ray_actor_options: {num_gpus: 1}`, or choose the engine auto."
            )
        model = load_classifier(package.file(WEIGHTS_FILE))
        self._model = model.to("cuda", torch.bfloat16).to(memory_format=torch.channels_last)
        self.info = EngineInfo(
            name="torch-cuda",
            device=torch.cuda.get_device_name(),
            precision="bf16",
            lanes=1,
        )

    @torch.inference_mode()
    def forward(self, images: Images) -> Logits:
        """See `Engine.forward`."""
        batch = torch.from_numpy(np.stack(images)).pin_memory().to("cuda", non_blocking=True)
        # The bytes stay in NHWC order, which is what channels_last means.
        logits: Logits = self._model(batch.permute(0, 3, 1, 2)).float().cpu().numpy()
        return logits
