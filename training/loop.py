"""The training loop: one process's part of a run, CPU or CUDA, resumable after any step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.architecture import LesionClassifier
from models.errors import DermServeError, InvalidDataset
from training.augmentation import augment
from training.dataset import ImageTensors
from training.group import Group
from training.optimisation import (
    logit_adjustment,
    parameter_groups,
    set_learning_rate,
    update_average,
)
from training.progress import Step
from training.settings import TrainingSettings

EVALUATION_BATCH = 64

# What a random number is for; the same seed then gives unrelated ones.
_ORDER, _AUGMENTATION, _DROPOUT = range(3)


class TrainingDiverged(DermServeError):
    """The loss or the outputs became NaN or infinite."""

    code = "training_diverged"


class TrainingLoop:
    """Fine-tunes the whole network, step by step.

    Every random number follows from the seed, the step and the rank, so that `state` needs no
    generator and a loop that begins with it goes on exactly as the one that gave it away.

    Args:
        model: the start; changed in place. Its device is where training runs.
        images: this process's share of the training split.
        settings: the recipe.
        group: the processes that train together; the batch is divided among them.
        class_counts: of the readable images of all shares, int64, shape (7,); None if there is
            one share only.
        parallel: gives the network that is called in place of `model` and averages the
            gradients over the group.

    Raises:
        InvalidDataset: if the share is empty.
    """

    def __init__(
        self,
        model: LesionClassifier,
        images: ImageTensors,
        settings: TrainingSettings,
        *,
        group: Group | None = None,
        class_counts: torch.Tensor | None = None,
        parallel: Callable[[LesionClassifier], nn.Module] = lambda model: model,
    ) -> None:
        if not len(images):
            raise InvalidDataset("A worker has no readable image. Train with fewer workers.")
        counts = images.class_counts() if class_counts is None else class_counts
        self.settings = settings
        self.model = model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.step = 0
        self._images = images
        self._group = group or Group()
        self._device = next(model.parameters()).device
        self.batch_size = min(settings.batch_size, int(counts.sum()))
        self._mine = max(1, self._group.part(self.batch_size))
        self.steps_per_epoch = int(counts.sum()) // self.batch_size
        self.steps = self.steps_per_epoch * settings.epochs
        self._sizes = [phase.image_size for phase in settings.phases for _ in range(phase.epochs)]
        self._adjustment = logit_adjustment(counts, settings.logit_adjustment).to(self._device)
        self._network = parallel(model)
        self._optimizer = torch.optim.AdamW(
            parameter_groups(model, settings.weight_decay), lr=settings.learning_rate
        )
        self._epoch_order: tuple[int, torch.Tensor] | None = None
        # Batch normalisation: each worker normalises by its own part of the batch, since
        # synchronised normalisation exists for CUDA only. The running statistics are averaged
        # over the workers at each step (a few 100 KB beside the gradients), so that every
        # worker's network and average stay the same and rank 0's checkpoint is everyone's.
        self._statistics = [
            b for n, b in model.named_buffers() if n.split(".")[-1][:7] == "running"
        ]

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.steps_per_epoch

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    def advance(self) -> Step:
        """Do the next step.

        Raises:
            TrainingDiverged: in every process of the group, if the loss of one is not finite.
        """
        settings, step, epoch = self.settings, self.step, self.epoch
        started = time.perf_counter()
        position = step % self.steps_per_epoch * self._mine
        batch = self._order(epoch)[position : position + self._mine]
        set_learning_rate(self._optimizer, settings, step / self.steps)
        generator = torch.Generator(self._device).manual_seed(self._seed(_AUGMENTATION, step))
        torch.manual_seed(self._seed(_DROPOUT, step))
        self.model.train()
        pixels = augment(
            self._images.pixels[batch].to(self._device),
            self._images.sharp[batch].to(self._device),
            self._sizes[epoch],
            generator,
        ).contiguous(memory_format=torch.channels_last)
        # On CPUs float32 in channels last is as fast, and exact.
        with torch.autocast("cuda", torch.bfloat16, enabled=self._device.type == "cuda"):
            logits = self._network(pixels)
        loss = functional.cross_entropy(
            logits.float() + self._adjustment,
            self._images.labels[batch].to(self._device),
            label_smoothing=settings.label_smoothing,
        )
        # The group's mean gradient is the batch's, also where its parts are unequal.
        loss = loss * (self._mine * self._group.size / self.batch_size)
        value, statistics = self._agree(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"The loss became {value} in step {step}. Lower learning_rate in "
                "the recipe and start again."
            )
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        # Not before: the backward pass still holds the buffers.
        for buffer, mean in zip(self._statistics, statistics, strict=True):
            buffer.copy_(mean.view_as(buffer))
        self.step += 1
        decay = min(settings.ema_decay, self.step / (self.step + 10))
        update_average(self.average, self.model, decay)
        seconds = time.perf_counter() - started
        return Step(
            self.step,
            self.steps,
            epoch,
            value,
            seconds=seconds,
            images_per_s=self.batch_size / seconds,
            ends_epoch=self.epoch > epoch,
        )

    def state(self) -> dict[str, torch.Tensor]:
        """All that the next steps depend on besides the arguments and `step`.

        Returns:
            The tensors themselves, not copies, under unique names: the network, the average
            and the optimiser's moments.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        return tensors

    def restore(self, tensors: Mapping[str, torch.Tensor], step: int) -> None:
        """Go on after a step; the group may have another size than before.

        Args:
            tensors: what `state` gave; they are copied.
            step: of the loop that gave them.

        Raises:
            KeyError, RuntimeError, ValueError: if they belong to another network.
        """
        state: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            kind, name = key.split(".", 1)
            if kind == "optimizer":
                index, name = name.split(".", 1)
                moments.setdefault(int(index), {})[name] = value.clone()
            else:
                state[kind][name] = value
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        self.step = step

    def _agree(self, loss: torch.Tensor) -> tuple[float, Sequence[torch.Tensor]]:
        """The group's mean loss and, in the same message, its mean running statistics."""
        if self._group.size == 1:
            return float(loss), self._statistics
        numbers = torch.cat([loss.reshape(1), *(b.flatten() for b in self._statistics)])
        numbers = self._group.sum_(numbers) / self._group.size
        sizes = [buffer.numel() for buffer in self._statistics]
        return float(numbers[0]), torch.split(numbers[1:], sizes)

    def _order(self, epoch: int) -> torch.Tensor:
        """This epoch's images in the order of their use, int64, at least as many as it uses.

        Shares differ by an image or, where files are damaged, by some; a short one begins again.
        """
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed(_ORDER, epoch))
            rounds = -(-self.steps_per_epoch * self._mine // len(self._images))
            orders = [torch.randperm(len(self._images), generator=generator) for _ in range(rounds)]
            self._epoch_order = epoch, torch.cat(orders)
        return self._epoch_order[1]

    def _seed(self, purpose: int, number: int) -> int:
        entropy = [self.settings.seed, purpose, number, self._group.rank]
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def train(
    model: LesionClassifier,
    images: ImageTensors,
    settings: TrainingSettings,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[int, LesionClassifier], None] = lambda epoch, average: None,
) -> LesionClassifier:
    """Run a whole loop in this process, without checkpoints.

    Args:
        model, images, settings: as `TrainingLoop` takes them.
        on_step: called after each step.
        on_epoch: called after each epoch with its number (from 1) and the averaged model.

    Returns:
        The exponential moving average of the weights, in evaluation mode.

    Raises:
        InvalidDataset, TrainingDiverged: as the loop raises them.
    """
    loop = TrainingLoop(model, images, settings)
    while not loop.finished:
        step = loop.advance()
        on_step(step)
        if step.ends_epoch:
            on_epoch(loop.epoch, loop.average)
    return loop.average


@torch.inference_mode()
def forward_logits(model: LesionClassifier, pixels: torch.Tensor) -> torch.Tensor:
    """Logits in float32 on the CPU, shape (images, 7), one 224 forward per image."""
    device = next(model.parameters()).device
    model.eval()
    parts = [
        model(batch.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
        for batch in torch.split(pixels, EVALUATION_BATCH)
    ]
    return torch.cat(parts)


def predict_logits(model: LesionClassifier, images: ImageTensors) -> npt.NDArray[np.float32]:
    """Logits of a split in float32, shape (images, 7).

    Raises:
        TrainingDiverged: if the weights have grown so far that a logit is not finite.
    """
    return finite(forward_logits(model, images.pixels))


def finite(logits: torch.Tensor) -> npt.NDArray[np.float32]:
    """The logits themselves.

    Raises:
        TrainingDiverged: if one is not finite.
    """
    if not logits.isfinite().all():
        raise TrainingDiverged(
            "The network's outputs are not finite. Lower learning_rate in the recipe and start "
            "again."
        )
    return logits.numpy()
