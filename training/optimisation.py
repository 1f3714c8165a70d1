"""Optimisation: the terms of the loss and of a step that are formulas of the recipe."""

from __future__ import annotations

import math

import torch
from torch import nn

from training.settings import TrainingSettings


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """AdamW's groups: decay the matrices and kernels only, not biases and normalisation."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def set_learning_rate(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, progress: float
) -> None:
    """Linear warm-up, then half a cosine to zero; `progress` in 0..1."""
    warmup = settings.warmup_fraction
    if progress < warmup:
        factor = (progress + 1e-3) / warmup
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * min(1.0, factor)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average towards the model; what is no float, as counters, is copied."""
    current = model.state_dict()
    for name, target in average.state_dict().items():
        if target.dtype.is_floating_point:
            target.lerp_(current[name], 1 - decay)
        else:
            target.copy_(current[name])


def logit_adjustment(class_counts: torch.Tensor, strength: float) -> torch.Tensor:
    """What is added to the logits while training, so that rare classes are not drowned.

    Args:
        class_counts: of the training images, int64, shape (7,); an absent class counts as one.
        strength: >= 0; 0 adds nothing.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
    """
    prior = class_counts.float().clamp(min=1) / class_counts.sum()
    return strength * prior.log()
