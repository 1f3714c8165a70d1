"""CUDA engines under test: their lanes, and what the real network should have said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from models.architecture import load_classifier
from models.package import WEIGHTS_FILE, ModelPackage
from serve_app.engines.base import Outputs
from serve_app.engines.cuda_lane import Lane
from serve_app.engines.torch_cuda import LANES, TorchCudaEngine


def lanes_of(engine: TorchCudaEngine) -> Sequence[Lane]:
    """All lanes of an engine at rest."""
    lanes = [engine._free_lanes.get_nowait() for _ in range(LANES)]
    for lane in lanes:
        engine._free_lanes.put(lane)
    return lanes


def exact_outputs(champion: ModelPackage, images: npt.NDArray[np.uint8]) -> Outputs:
    """In float32, on the CPU."""
    network = load_classifier(champion.file(WEIGHTS_FILE))
    with torch.inference_mode():
        said = network.describe(torch.from_numpy(images).permute(0, 3, 1, 2))
    return Outputs(said.logits.numpy(), said.statistics.numpy())
