"""The network as the GPU runs it: bf16, channels last, batch norms folded into convolutions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.architecture import LesionClassifier, load_classifier


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> LesionClassifier:
    """Read weights and put them on a device, ready for inference.

    Args:
        path: `weights.safetensors` of a model package.
        device: where they go.
        dtype: that the network computes in.

    Raises:
        InvalidPackage: if the file does not fit the network.
    """
    network = load_classifier(path).requires_grad_(False)
    fold_batch_norms(network)  # in float32, before weights lose digits
    return network.to(device, dtype).to(memory_format=torch.channels_last)


def fold_batch_norms(module: nn.Module) -> None:
    """Let each convolution do the batch norm behind it, which saves a pass over its output.

    Args:
        module: in evaluation mode; changed in place.
    """
    for child in module.children():
        fold_batch_norms(child)
    if not isinstance(module, nn.Sequential):
        return
    for (index, first), (following, second) in pairwise(list(module.named_children())):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, index, fuse_conv_bn_eval(first, second))
            setattr(module, following, nn.Identity())
