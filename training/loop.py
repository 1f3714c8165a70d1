"""The training loop: one network, one process, CPU or CUDA."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.architecture import LesionClassifier
from models.errors import DermServeError
from training.augmentation import augment
from training.dataset import ImageTensors
from training.settings import TrainingSettings

EVALUATION_BATCH = 64


class TrainingDiverged(DermServeError):
    """The loss or the outputs became NaN or infinite."""

    code = "training_diverged"


@dataclass(frozen=True)
class Step:
    """One optimiser step, as reported while training runs."""

    step: int
    steps: int
    epoch: int
    """Epochs finished before this step."""
    loss: float


def train(
    model: LesionClassifier,
    images: ImageTensors,
    settings: TrainingSettings,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[int, LesionClassifier], None] = lambda epoch, average: None,
) -> LesionClassifier:
    """Fine-tune the whole network.

    Args:
        model: the start; changed in place. Its device is where training runs.
        images: the training split.
        settings: the recipe.
        on_step: called after each step.
        on_epoch: called after each epoch with its number (from 1) and the averaged model.

    Returns:
        The exponential moving average of the weights, in evaluation mode.

    Raises:
        TrainingDiverged: if the loss is no longer finite.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(settings.seed)
    model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, settings.weight_decay), lr=settings.learning_rate
    )
    adjustment = logit_adjustment(images, settings.logit_adjustment).to(device)
    batches_per_epoch = max(1, len(images) // settings.batch_size)
    steps = batches_per_epoch * settings.epochs
    step = epoch = 0
    for phase in settings.phases:
        for _ in range(phase.epochs):
            model.train()
            order = torch.randperm(len(images), generator=generator, device=device).cpu()
            for batch in torch.split(order, settings.batch_size)[:batches_per_epoch]:
                _set_learning_rate(optimizer, settings, step / steps)
                pixels = augment(
                    images.pixels[batch].to(device),
                    images.sharp[batch].to(device),
                    phase.image_size,
                    generator,
                ).contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    logits = model(pixels)
                loss = functional.cross_entropy(
                    logits.float() + adjustment,
                    images.labels[batch].to(device),
                    label_smoothing=settings.label_smoothing,
                )
                if not math.isfinite(value := loss.item()):
                    raise TrainingDiverged(
                        f"The loss became {value} in step {step}. Lower learning_rate in "
                        "the recipe and start again."
                    )
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                step += 1
                _update_average(average, model, min(settings.ema_decay, step / (step + 10)))
                on_step(Step(step, steps, epoch, value))
            epoch += 1
            on_epoch(epoch, average)
    return average


@torch.inference_mode()
def predict_logits(model: LesionClassifier, images: ImageTensors) -> npt.NDArray[np.float32]:
    """Logits of a split in float32, shape (images, 7), one 224 forward per image.

    Raises:
        TrainingDiverged: if the weights have grown so far that a logit is not finite.
    """
    device = next(model.parameters()).device
    model.eval()
    parts = [
        model(batch.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
        for batch in torch.split(images.pixels, EVALUATION_BATCH)
    ]
    logits = torch.cat(parts)
    if not logits.isfinite().all():
        raise TrainingDiverged(
            "The network's outputs are not finite. Lower learning_rate in the recipe and start "
            "again."
        )
    return logits.numpy()


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay the matrices and kernels only, not biases and normalisation."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def logit_adjustment(images: ImageTensors, strength: float) -> torch.Tensor:
    """What is added to the logits while training, so that rare classes are not drowned.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
    """
    prior = images.class_counts().float().clamp(min=1) / len(images)
    return strength * prior.log()


def _set_learning_rate(
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
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    current = model.state_dict()
    for name, target in average.state_dict().items():
        if target.dtype.is_floating_point:
            target.lerp_(current[name], 1 - decay)
        else:
            target.copy_(current[name])
