"""Predictions of a whole split: what a package is made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from data.ham10000 import LesionImage
from data.splits import SPLITS, Split
from models.architecture import LesionClassifier
from models.classes import CLASSES
from training.allocator import keep_freed_memory
from training.dataset import unreadable_warning
from training.optimisation import logit_adjustment
from training.predictions import Predictions, predict
from training.progress import ImagesDecoded, Progress
from training.worker import require_every_class


def predict_splits(
    model: LesionClassifier, split: Split, progress: Progress
) -> dict[str, Predictions]:
    """Predict all images of a split, with a GPU where there is one.

    Args:
        model: moved there, and into evaluation mode.
        split: of which every part is predicted.
        progress: is told of `judged train` and the other parts.

    Raises:
        InvalidDataset: if a part has no readable image of a class.
        TrainingDiverged: if a logit is not finite.
    """
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).to(memory_format=torch.channels_last)
    return {name: _predict(model, name, getattr(split, name), progress) for name in SPLITS}


def logit_shift(train: Predictions, strength: float) -> npt.NDArray[np.float32]:
    """What training adds to the logits at these images' class frequencies, shape (7,).

    Args:
        train: predictions of the training images.
        strength: as `logit_adjustment` takes it.
    """
    class_counts = torch.bincount(torch.from_numpy(train.labels), minlength=len(CLASSES))
    shift: npt.NDArray[np.float32] = logit_adjustment(class_counts, strength).numpy()
    return shift


def _predict(
    model: LesionClassifier, name: str, images: tuple[LesionImage, ...], progress: Progress
) -> Predictions:
    done, count = 0, len(images)

    def on_image() -> None:
        nonlocal done
        done += 1
        progress.on_images(ImagesDecoded(f"judged {name}", done, count))

    predictions = predict(model, images, on_image)
    # Training has told of the other splits.
    if predictions.unreadable and name == "test":
        progress.on_warning(unreadable_warning(name, predictions.unreadable))
    require_every_class(name, np.bincount(predictions.labels, minlength=len(CLASSES)).tolist())
    return predictions
