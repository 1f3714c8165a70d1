"""The training pipeline: from a dataset folder to a model package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data.ham10000 import LesionImage, load_ham10000
from data.splits import SPLITS, split_by_lesion
from models.architecture import LesionClassifier, load_imagenet_features
from models.calibration import temperature_scale
from models.classes import CLASSES
from models.errors import InvalidDataset
from models.package import ModelPackage, SplitRecord
from training.allocator import keep_freed_memory
from training.dataset import ImageTensors, load_images
from training.evaluation import evaluate
from training.loop import Step, logit_adjustment, predict_logits, train
from training.packaging import check_target, write_package
from training.settings import TrainingSettings


@dataclass(frozen=True)
class Progress:
    """What a caller hears of while the pipeline runs; each part may be left out."""

    on_images: Callable[[str, int], Callable[[], None]] = lambda split, count: lambda: None
    """Told a split's name and size; returns what is called after each decoded image."""
    on_step: Callable[[Step], None] = field(default=lambda step: None)
    on_epoch: Callable[[int, dict[str, object]], None] = lambda epoch, metrics: None
    """Told the epoch (from 1) and the validation metrics of the averaged model."""
    on_warning: Callable[[str], None] = lambda sentence: None


def run_training(
    *,
    dataset: Path,
    weights: Path | None,
    output: Path,
    version: str,
    settings: TrainingSettings,
    progress: Progress | None = None,
) -> ModelPackage:
    """Train, judge and package a model.

    Args:
        dataset: folder with HAM10000, as `load_ham10000` reads it.
        weights: ImageNet backbone as safetensors; None downloads torchvision's.
        output: folder of the package; a package in it is replaced.
        version: name of the new version.
        settings: the recipe.
        progress: listeners.

    Raises:
        InvalidDataset, InvalidConfiguration, InvalidPackage, TrainingDiverged,
            PackageNotWritten: as the steps raise them; `output` is then as it was.
    """
    progress = progress or Progress()
    keep_freed_memory()
    ham10000 = load_ham10000(dataset)
    if ham10000.missing:
        progress.on_warning(
            f"{len(ham10000.missing)} images named by the metadata are not in {dataset}."
        )
    split = split_by_lesion(ham10000.images, settings.seed)

    check_target(output, version)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = LesionClassifier(dropout=settings.dropout).to(device)
    load_imagenet_features(model, weights)
    tensors = {name: _load(name, getattr(split, name), progress) for name in SPLITS}

    shift = logit_adjustment(tensors["train"], settings.logit_adjustment).numpy()

    def on_epoch(epoch: int, average: LesionClassifier) -> None:
        logits = predict_logits(average, tensors["validation"])
        labels = tensors["validation"].labels.numpy()
        probabilities = temperature_scale(logits + shift, 1.0)
        progress.on_epoch(epoch, evaluate(logits.argmax(axis=1), probabilities, labels))

    average = train(model, tensors["train"], settings, on_step=progress.on_step, on_epoch=on_epoch)
    judged = {
        name: (predict_logits(average, tensors[name]), tensors[name].labels.numpy())
        for name in ("validation", "test")
    }
    return write_package(
        output,
        average.cpu(),
        version=version,
        validation=judged["validation"],
        test=judged["test"],
        logit_shift=shift,
        split=_record(settings.seed, tensors),
        dataset_hash=ham10000.hash,
        recipe=settings.model_dump(mode="json"),
    )


def _load(name: str, images: tuple[LesionImage, ...], progress: Progress) -> ImageTensors:
    tensors = load_images(images, progress.on_images(name, len(images)))
    if tensors.unreadable:
        progress.on_warning(
            f"{len(tensors.unreadable)} images of the {name} split cannot be read and are left "
            f"out: {', '.join(tensors.unreadable[:10])}."
        )
    absent = [code for code, count in _counts(tensors).items() if count == 0]
    if absent:
        raise InvalidDataset(
            f"The {name} split has no readable image of {', '.join(absent)}. Repair the files "
            "or add others."
        )
    return tensors


def _record(seed: int, tensors: dict[str, ImageTensors]) -> SplitRecord:
    return SplitRecord(seed=seed, **{name: _counts(part) for name, part in tensors.items()})


def _counts(tensors: ImageTensors) -> dict[str, int]:
    return dict(zip(CLASSES, tensors.class_counts().tolist(), strict=True))
