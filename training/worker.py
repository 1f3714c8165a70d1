"""A worker: one process's part of a run, from decoding its share of the images to the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from data.ham10000 import LesionImage
from models.architecture import LesionClassifier
from models.calibration import temperature_scale
from models.classes import CLASSES
from models.errors import InvalidDataset
from training.checkpoint import Checkpoint, InvalidCheckpoint, Position
from training.dataset import ImageTensors, load_images, unreadable_warning
from training.evaluate import quick_metrics
from training.group import Group
from training.loop import TrainingLoop, finite, forward_logits
from training.optimisation import logit_adjustment
from training.progress import EpochRecord, Event, ImagesDecoded, Warned
from training.run_folder import RunFolder, TrainedRun
from training.stored_run import TrainingStopped

_DECODING_REPORT_S = 0.2


@dataclass(frozen=True)
class Surroundings:
    """What a worker needs of the process that it runs in."""

    group: Group
    tell: Callable[[Event], None]
    """Called in rank 0 only."""
    keep: Callable[[Checkpoint], None]
    """Stores a checkpoint; called in every rank at the same steps."""
    restored: Checkpoint | None = None
    """Where to go on; the same in every rank."""
    stopped: Callable[[], bool] = lambda: False
    """Whether the run is to end."""
    parallel: Callable[[LesionClassifier], nn.Module] = lambda model: model
    """As `TrainingLoop` takes it."""


def work(folder: RunFolder, around: Surroundings) -> None:
    """Do one process's part of the run; rank 0 writes its result.

    Args:
        folder: of the run, begun.
        around: the process.

    Raises:
        InvalidDataset, TrainingDiverged, TrainingStopped: in every process of the group alike.
        InvalidCheckpoint, RunNotStored: as files are read and written.
    """
    group, plan = around.group, folder.plan()
    settings = plan.settings
    train = _Part.decode("train", plan.train, around)
    validation = _Part.decode("validation", plan.validation, around)
    if group.any_(len(train.mine) == 0):
        raise InvalidDataset("A worker has no readable image. Train with fewer workers.")
    loop = TrainingLoop(
        folder.network(settings.dropout).to(group.device),
        train.mine,
        settings,
        group=group,
        class_counts=train.class_counts,
        parallel=around.parallel,
    )
    position = _restore(loop, around.restored)
    while not loop.finished:
        if group.any_(around.stopped()):
            around.keep(Checkpoint(loop.state(), position))
            raise TrainingStopped(
                f"The run {folder.path.name} is stopped after step {loop.step} of {loop.steps}. "
                f"Go on with --run {folder.path.name}."
            )
        step = loop.advance()
        position = Position(
            step=step.step,
            history=position.history,
            loss_sum=position.loss_sum + step.loss,
            seconds=position.seconds + step.seconds,
        )
        if group.leads:
            around.tell(step)
        if step.ends_epoch:
            metrics = _validate(loop, train.class_counts, validation, group)
            record = _record(loop, position, metrics)
            position = Position(step=step.step, history=(*position.history, record))
            if group.leads:
                around.tell(record)
        if step.ends_epoch or step.step % settings.checkpoint_steps == 0:
            around.keep(Checkpoint(loop.state(), position))
    if group.leads:
        counts = dict(zip(CLASSES, train.class_counts.tolist(), strict=True))
        unreadable = train.unreadable + validation.unreadable
        folder.finish(
            loop.average,
            TrainedRun(history=position.history, class_counts=counts, unreadable=unreadable),
        )


def require_every_class(split: str, counts: Sequence[int]) -> None:
    """Refuse a split that lacks a class.

    Args:
        split: its name.
        counts: readable images per class, 7 numbers.

    Raises:
        InvalidDataset: if one is 0.
    """
    absent = [code for code, count in zip(CLASSES, counts, strict=True) if count == 0]
    if absent:
        raise InvalidDataset(
            f"The {split} split has no readable image of {', '.join(absent)}. Repair the files "
            "or add others."
        )


@dataclass(frozen=True)
class _Part:
    """A split: this process's images, and what every process knows of the others'."""

    mine: ImageTensors
    places: torch.Tensor
    """int64 positions of `mine` in the split, shape (len(mine),)."""
    readable: torch.Tensor
    """bool, shape (images of the split,)."""
    labels: torch.Tensor
    """int64 columns of `CLASSES`, shape (images of the split,)."""
    unreadable: tuple[str, ...]

    @property
    def class_counts(self) -> torch.Tensor:
        """Readable images per class, int64, shape (7,)."""
        return torch.bincount(self.labels[self.readable], minlength=len(CLASSES))

    @classmethod
    def decode(cls, name: str, images: tuple[LesionImage, ...], around: Surroundings) -> _Part:
        group, count = around.group, len(images)
        mine = load_images(group.share(images), _told(name, count, around))
        own_places = torch.arange(group.rank, count, group.size)
        lost = set(mine.unreadable)
        own_readable = torch.tensor([image.image_id not in lost for image in group.share(images)])
        places = own_places[own_readable.bool()]
        marks = torch.zeros(count, dtype=torch.int64)
        marks[places] = 1
        readable = group.sum_(marks).bool()
        unreadable = tuple(
            image.image_id for image, ok in zip(images, readable.tolist(), strict=True) if not ok
        )
        labels = torch.tensor([CLASSES.index(image.diagnosis) for image in images])
        part = cls(mine, places, readable, labels, unreadable)
        if group.leads:
            around.tell(ImagesDecoded(name, count, count))
            if unreadable:
                around.tell(Warned(unreadable_warning(name, unreadable)))
        require_every_class(name, part.class_counts.tolist())
        return part


def _told(name: str, count: int, around: Surroundings) -> Callable[[], None]:
    """What rank 0 calls after each image it has decoded; the others are about as far."""
    done, last = 0, time.monotonic()
    if not around.group.leads:
        return lambda: None

    def on_image() -> None:
        nonlocal done, last
        done += 1
        if time.monotonic() - last > _DECODING_REPORT_S:
            last = time.monotonic()
            around.tell(ImagesDecoded(name, min(count, done * around.group.size), count))

    return on_image


def _restore(loop: TrainingLoop, checkpoint: Checkpoint | None) -> Position:
    if checkpoint is None:
        return Position()
    try:
        loop.restore(checkpoint.tensors, checkpoint.position.step)
    except (KeyError, RuntimeError, ValueError) as error:
        raise InvalidCheckpoint(
            f"The checkpoint is of another network: {error}. Start a new run under another name."
        ) from error
    return checkpoint.position


def _validate(
    loop: TrainingLoop, class_counts: torch.Tensor, part: _Part, group: Group
) -> dict[str, object]:
    """Measure the averaged network; each process predicts its own images."""
    logits = torch.zeros(len(part.labels), len(CLASSES))
    logits[part.places] = forward_logits(loop.average, part.mine.pixels)
    complete = finite(group.sum_(logits)[part.readable])
    labels = part.labels[part.readable].numpy()
    shift = logit_adjustment(class_counts, loop.settings.logit_adjustment).numpy()
    return quick_metrics(complete.argmax(axis=1), temperature_scale(complete + shift, 1.0), labels)


def _record(loop: TrainingLoop, position: Position, metrics: dict[str, object]) -> EpochRecord:
    images = loop.steps_per_epoch * loop.batch_size
    return EpochRecord(
        epoch=loop.epoch,
        loss=position.loss_sum / loop.steps_per_epoch,
        seconds=position.seconds,
        images_per_s=images / position.seconds,
        metrics=metrics,
    )
