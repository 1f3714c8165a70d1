"""The drift watch put to the test: false alarms, what it finds, what its estimates are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from PIL import Image, ImageFilter
from rich.table import Table

from benchmarks.command import run
from benchmarks.screen import screen
from data.ham10000 import load_ham10000
from data.splits import frozen_split
from data.synthetic import synthetic_lesion
from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.package import BUNDLED_CHAMPION, WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE
from training.dataset import load_images
from training.drift.assessment import Assessment, WatchedModel, assess
from training.drift.performance import balanced_accuracy_of
from training.drift.window import LiveRows
from training.predictions import describe_pixels

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

ALARM = 0.01
"""P-value below which a test is said to have found something."""


@dataclass(frozen=True)
class Traffic:
    """Images that windows are drawn from, as the network sees them."""

    name: str
    rows: LiveRows
    labels: Labels | None
    """Columns of `CLASSES`; None if the images show no class of lesion."""
    weights: npt.NDArray[np.float64]
    """How likely each image is drawn."""

    def draw(self, images: int, random: np.random.Generator) -> tuple[LiveRows, Labels | None]:
        """A window, each image at most once, as far as there are enough."""
        images = min(images, int(np.count_nonzero(self.weights)))
        chosen = random.choice(
            len(self.rows), images, replace=False, p=self.weights / self.weights.sum()
        )
        rows = LiveRows(self.rows.statistics[chosen], self.rows.logits[chosen])
        return rows, None if self.labels is None else self.labels[chosen]


def blurred(radius: float) -> Callable[[Pixels], Pixels]:
    """A lens out of focus; the radius in pixels of 224."""

    def change(pixels: Pixels) -> Pixels:
        blur = ImageFilter.GaussianBlur(radius)
        changed = [np.asarray(Image.fromarray(each).filter(blur), np.uint8) for each in pixels]
        return np.stack(changed)

    return change


def tinted(red: float, green: float, blue: float) -> Callable[[Pixels], Pixels]:
    """Another white balance or exposure: factors of the channels."""

    def change(pixels: Pixels) -> Pixels:
        factors = np.array([red, green, blue], np.float32)
        changed: Pixels = np.clip(pixels * factors, 0, 255).astype(np.uint8)
        return changed

    return change


def noisy(pixels: Pixels) -> Pixels:
    """A sensor's noise, standard deviation 10 of 255."""
    noise = np.random.default_rng(0).normal(0, 10, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def inverted(pixels: Pixels) -> Pixels:
    """A negative."""
    return 255 - pixels


SHIFTS: dict[str, Callable[[Pixels], Pixels]] = {
    "blurred, radius 1": blurred(1),
    "blurred, radius 2": blurred(2),
    "warmer by 8 %": tinted(1.08, 1, 0.92),
    "warmer by 15 %": tinted(1.15, 1, 0.85),
    "darker by 20 %": tinted(0.8, 0.8, 0.8),
    "darker by 40 %": tinted(0.6, 0.6, 0.6),
    "noise": noisy,
    "negatives": inverted,
}


def traffic_of(data: Path, model: LesionClassifier, images: int) -> list[Traffic]:
    """All kinds of traffic that are tried, made of the test split.

    Args:
        data: folder of HAM10000.
        model: the network.
        images: test images that shifted ones are made of.
    """
    tensors = load_images(frozen_split(load_ham10000(data).images).test)
    pixels, labels = tensors.pixels.permute(0, 2, 3, 1).numpy(), tensors.labels.numpy()
    test = _described(model, pixels)
    even = np.ones(len(labels))
    balanced = 1 / np.bincount(labels)[labels]
    melanoma = np.where(labels == CLASSES.index("mel"), 4.0, 1.0)
    found = [
        Traffic("test images", test, labels, even),
        Traffic("test images, melanoma four times as often", test, labels, melanoma),
        Traffic("test images, classes alike", test, labels, balanced),
        Traffic("test images, sharp ones only", test, labels, tensors.sharp.numpy().astype(float)),
    ]
    some = np.sort(np.random.default_rng(0).permutation(len(labels))[:images])
    for name, change in SHIFTS.items():
        rows = _described(model, change(pixels[some]))
        found.append(Traffic(name, rows, labels[some], even[some]))
    synthetic = np.stack(
        [
            synthetic_lesion(code, seed, IMAGE_SIZE, IMAGE_SIZE)
            for seed in range(-(-images // len(CLASSES)))
            for code in CLASSES
        ]
    )
    found.append(
        Traffic("synthetic lesions", _described(model, synthetic), None, np.ones(len(synthetic)))
    )
    return found


def _described(model: LesionClassifier, pixels: Pixels) -> LiveRows:
    said = describe_pixels(model, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    # As a window keeps them.
    statistics = said.statistics.numpy().astype(np.float16).astype(np.float32)
    return LiveRows(statistics, said.logits.numpy())


@dataclass(frozen=True)
class Trial:
    """One window, and what is true of it."""

    assessment: Assessment
    accuracy: float | None
    balanced_accuracy: float | None


def try_out(model: WatchedModel, traffic: Traffic, images: int, windows: int) -> list[Trial]:
    """Assess windows of one kind of traffic."""
    random, trials = np.random.default_rng(images), []
    for seed in range(windows):
        rows, labels = traffic.draw(images, random)
        assessment = assess(model, rows, seed)
        trials.append(Trial(assessment, *_truth(model, rows, labels)))
    return trials


def _truth(
    model: WatchedModel, rows: LiveRows, labels: Labels | None
) -> tuple[float | None, float | None]:
    """Accuracy and balanced accuracy on those that performance is expected of."""
    if labels is None:
        return None, None
    known = model.known(rows.statistics)
    if not known.any():
        return None, None
    labels, predicted = labels[known], rows.logits.argmax(axis=1)[known]
    return float((predicted == labels).mean()), balanced_accuracy_of(predicted, labels)


def drift(
    data: Annotated[Path, typer.Option(help="Folder that holds HAM10000.")],
    windows: Annotated[int, typer.Option(min=2, help="Of test images as they are.")] = 200,
    shifted: Annotated[int, typer.Option(min=2, help="Windows of each other kind.")] = 40,
    sizes: Annotated[list[int] | None, typer.Option(help="Images in a window.")] = None,
    images: Annotated[int, typer.Option(min=14, help="Test images that are shifted.")] = 600,
    package: Annotated[Path, typer.Option(help="Folder of the model.")] = BUNDLED_CHAMPION,
) -> None:
    """Assess windows of test images, as they are and shifted, beside the package's reference.

    Example: python -m benchmarks.drift --data ~/HAM10000 --windows 50 --shifted 10
    """
    loaded = ModelPackage.load(package)
    watched = WatchedModel.load(loaded)
    console = screen()
    kinds = traffic_of(data, load_classifier(loaded.file(WEIGHTS_FILE)), images)
    for size in sizes or (200, 500):
        found = Table(
            "traffic", "MMD²", "found by it", "class distance", "found by it", "no lesion"
        )
        worth = Table("traffic", "measure", "true", "expected", "error", "in its interval")
        for kind in kinds:
            as_they_are = kind is kinds[0]
            trials = try_out(watched, kind, size, windows if as_they_are else shifted)
            found.add_row(kind.name, *_found(trials))
            for measure in ("accuracy", "balanced_accuracy"):
                if cells := _worth(trials, measure):
                    worth.add_row(kind.name, measure.replace("_", " "), *cells)
        console.print(f"{size} images a window, {windows} or {shifted} windows; found: p < {ALARM}")
        console.print(found)
        console.print("Expected without labels, and true; error: mean of its size")
        console.print(worth)


def _found(trials: list[Trial]) -> list[str]:
    found = [trial.assessment for trial in trials]
    return [
        f"{np.mean([each.embedding.mmd for each in found]):.4f}",
        f"{np.mean([each.embedding.p_value < ALARM for each in found]):.1%}",
        f"{np.mean([each.class_mix.distance for each in found]):.2f}",
        f"{np.mean([each.class_mix.p_value < ALARM for each in found]):.1%}",
        f"{np.mean([each.out_of_distribution for each in found]):.1%}",
    ]


def _worth(trials: list[Trial], measure: str) -> list[str]:
    pairs = [
        (getattr(trial, measure), getattr(trial.assessment.performance, measure))
        for trial in trials
        if getattr(trial, measure) is not None
    ]
    if not pairs:
        return []
    truths = np.array([truth for truth, _ in pairs])
    values = np.array([expected.value for _, expected in pairs])
    inside = [expected.low <= truth <= expected.high for truth, expected in pairs]
    return [
        f"{truths.mean():.3f}",
        f"{values.mean():.3f}",
        f"{np.abs(values - truths).mean():.3f}",
        f"{np.mean(inside):.0%}",
    ]


if __name__ == "__main__":
    run(drift)
