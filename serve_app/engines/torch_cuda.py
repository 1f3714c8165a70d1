"""Torch on CUDA: bf16, channels last, normalisation on the device."""

from __future__ import annotations

import numpy as np
import torch

from models.architecture import load_classifier
from models.errors import InvalidConfiguration
from models.package import WEIGHTS_FILE, ModelPackage
from serve_app.engines.base import EngineInfo, Images, Outputs


class TorchCudaEngine:
    """The package's weights on the GPU that this process was given.

    Args:
        package: must hold the weights.
        max_batch: images in one forward.

    Raises:
        InvalidConfiguration: if torch finds no GPU.
    """

    def __init__(self, package: ModelPackage, max_batch: int = 32) -> None:
        if not torch.cuda.is_available():
            raise InvalidConfiguration(
                "The engine torch-cuda needs a GPU and none is visible. Set `classifier_gpus: 1` "
                "in the args of serve_config.yaml, or choose the engine auto."
            )
        model = load_classifier(package.file(WEIGHTS_FILE))
        self._model = model.to("cuda", torch.bfloat16).to(memory_format=torch.channels_last)
        self.max_piece = max_batch
        self.info = EngineInfo(
            name="torch-cuda",
            device=torch.cuda.get_device_name(),
            precision="bf16",
            lanes=1,
        )

    @torch.inference_mode()
    def forward(self, images: Images) -> Outputs:
        """See `Engine.forward`."""
        batch = torch.from_numpy(np.stack(images)).pin_memory().to("cuda", non_blocking=True)
        # The bytes stay in NHWC order, which is what channels_last means.
        said = self._model.describe(batch.permute(0, 3, 1, 2))
        return Outputs(said.logits.float().cpu().numpy(), said.statistics.float().cpu().numpy())
