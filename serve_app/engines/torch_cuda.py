"""Torch on CUDA: bf16, channels last, normalisation on the device, graphs for every batch size."""

from __future__ import annotations

import queue
from typing import Literal

import torch

from models.errors import InvalidConfiguration
from models.package import WEIGHTS_FILE, ModelPackage
from serve_app.engines.base import EngineInfo, Images, Outputs
from serve_app.engines.cuda_graphs import CAPTURES
from serve_app.engines.cuda_lane import Describe, Lane
from serve_app.engines.cuda_network import load_network
from serve_app.engines.ladder import rungs

LANES = 2
"""One copies while the other computes."""

Launch = Literal["graphs", "compile", "eager"]
"""How a batch gets onto the GPU: as a graph of torch's own kernels, as a graph of the kernels that
`torch.compile` makes, or kernel by kernel. The server uses graphs; benchmarks compare all."""

# Dynamo keeps as many variants of a function as this, and then goes on without compiling; each
# engine takes one for each batch size.
_COMPILED_VARIANTS = 64


class TorchCudaEngine:
    """The package's weights on the GPU that this process was given.

    Args:
        package: must hold the weights.
        max_batch: images in one forward.
        launch: how.

    Raises:
        InvalidConfiguration: if torch finds no GPU, or its memory is too small.
    """

    def __init__(
        self, package: ModelPackage, max_batch: int = 32, launch: Launch = "graphs"
    ) -> None:
        device = cuda_device()
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        with CAPTURES:
            try:
                network = load_network(
                    package.file(WEIGHTS_FILE), device, torch.bfloat16 if bf16 else torch.float32
                )
                describe = _compiled(network.describe) if launch == "compile" else network.describe
                ladder = rungs(max_batch)
                lanes = [
                    Lane(describe, ladder, device, graphs=launch != "eager") for _ in range(LANES)
                ]
            except torch.OutOfMemoryError as error:
                raise InvalidConfiguration(
                    f"The GPU has too little free memory for batches of {max_batch}. Set a smaller "
                    f"max_batch_size in the args of serve_config.yaml. ({error})"
                ) from error
        self._free_lanes: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._free_lanes.put(lane)
        self.max_piece = max_batch
        self.info = EngineInfo(
            name="torch-cuda",
            device=torch.cuda.get_device_name(device),
            precision="bf16" if bf16 else "f32",
            lanes=LANES,
        )

    def forward(self, images: Images) -> Outputs:
        """See `Engine.forward`."""
        outputs = Outputs.empty(len(images))
        for start in range(0, len(images), self.max_piece):
            piece = slice(start, start + self.max_piece)
            lane = self._free_lanes.get()
            try:
                lane.forward(images[piece], Outputs(*(part[piece] for part in outputs)))
            finally:
                self._free_lanes.put(lane)
        return outputs


def cuda_device() -> torch.device:
    """The GPU that this process was given.

    Raises:
        InvalidConfiguration: if torch finds none.
    """
    if not torch.cuda.is_available():
        raise InvalidConfiguration(
            "The engine torch-cuda needs a GPU and none is visible. Set `classifier_gpus: 1` "
            "in the args of serve_config.yaml, or choose the engine auto."
        )
    return torch.device("cuda", torch.cuda.current_device())


def _compiled(describe: Describe) -> Describe:
    torch._dynamo.config.cache_size_limit = _COMPILED_VARIANTS
    return torch.compile(describe, dynamic=False)
