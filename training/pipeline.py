"""The training pipeline: from a dataset folder to a model package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data.ham10000 import LesionImage, load_ham10000
from data.splits import SPLITS, Split, split_by_lesion
from models.architecture import LesionClassifier, load_imagenet_features
from models.package import ModelPackage, SplitRecord
from training.allocator import keep_freed_memory
from training.dataset import ImageTensors, load_images
from training.evaluation import evaluate
from training.loop import Step, predict_logits, train
from training.packaging import write_package
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
        output: folder of the package; replaced if it exists.
        version: name of the new version.
        settings: the recipe.
        progress: listeners.

    Raises:
        InvalidDataset, InvalidPackage, TrainingDiverged: as the steps raise them; `output`
            is then as it was.
    """
    progress = progress or Progress()
    keep_freed_memory()
    ham10000 = load_ham10000(dataset)
    if ham10000.missing:
        progress.on_warning(
            f"{len(ham10000.missing)} images named by the metadata are not in {dataset}."
        )
    split = split_by_lesion(ham10000.images, settings.seed)
    tensors = {name: _load(name, getattr(split, name), progress) for name in SPLITS}

    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = LesionClassifier(dropout=settings.dropout).to(device)
    load_imagenet_features(model, weights)

    def on_epoch(epoch: int, average: LesionClassifier) -> None:
        logits = torch.from_numpy(predict_logits(average, tensors["validation"]))
        metrics = evaluate(logits.softmax(dim=1).numpy(), tensors["validation"].labels.numpy())
        progress.on_epoch(epoch, metrics)

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
        split=_record(split),
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
    return tensors


def _record(split: Split) -> SplitRecord:
    counts = {
        name: dict(sorted(Counter(image.diagnosis for image in getattr(split, name)).items()))
        for name in SPLITS
    }
    return SplitRecord(seed=split.seed, **counts)
