"""Expected performance: how often the model is right on images without labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

DRAWS = 300


@dataclass(frozen=True)
class Expected:
    """What a measure is expected to be, and the range that it is in 19 times of 20."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ExpectedPerformance:
    """Measures of some answers, each in 0..1."""

    accuracy: Expected
    balanced_accuracy: Expected
    """Mean recall of the classes that are there."""


@dataclass(frozen=True)
class Answers:
    """What a model said of some images."""

    probabilities: Floats
    """Calibrated, shape (images, classes), rows summing to 1."""
    predicted: Labels
    """The decisions, columns, shape (images,)."""

    def __len__(self) -> int:
        return len(self.predicted)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Answers:
        return Answers(self.probabilities[rows], self.predicted[rows])

    @cached_property
    def confidence(self) -> Floats:
        """Probability of each decision, shape (images,)."""
        return self.probabilities[np.arange(len(self)), self.predicted]

    @cached_property
    def expected_recall(self) -> float:
        """Mean over the classes of the recall that the probabilities promise."""
        decided = np.eye(self.probabilities.shape[1])[self.predicted]
        found = (self.probabilities * decided).sum(axis=0)
        return float((found / np.maximum(self.probabilities.sum(axis=0), 1e-12)).mean())


def expected_performance(
    reference: Answers, labels: Labels, live: Answers, draws: int = DRAWS, seed: int = 0
) -> ExpectedPerformance:
    """Estimate the performance on live images from labelled ones.

    Accuracy is the share of live images whose confidence reaches the threshold that as many
    reference images reach as are right (average thresholded confidence). Balanced accuracy is
    the reference's, moved by as much as the recall that the probabilities promise has moved
    (difference of confidences). The ranges are of the errors that the same procedure makes on
    as many images drawn from the reference, whose labels are known.

    Both take for granted that confidence means for live images what it means for the
    reference: the same cameras, diseases and patients, in whatever mix. Of other images nothing
    is promised, and networks are then more often too sure than not.

    Args:
        reference: at least two images.
        labels: theirs, columns, shape (images,).
        live: at least one image.
        draws: of images from the reference.
        seed: of the draws.

    Source: Garg et al., "Leveraging Unlabeled Data to Predict Out-of-Distribution Performance",
    ICLR 2022; Guillory et al., "Predicting with Confidence on Unseen Distributions", ICCV 2021.
    """
    random = np.random.default_rng(seed)
    errors = np.array(
        [
            _errors(
                reference,
                labels,
                fitted_on=random.integers(0, len(labels), len(labels)),
                tried_on=random.integers(0, len(labels), len(live)),
            )
            for _ in range(draws)
        ]
    )
    values = _estimate(reference, labels, live)
    accuracy, balanced_accuracy = (
        _within(value, error) for value, error in zip(values, errors.T, strict=True)
    )
    return ExpectedPerformance(accuracy, balanced_accuracy)


def balanced_accuracy_of(predicted: Labels, labels: Labels) -> float:
    """Mean recall of the classes that are there."""
    right = np.bincount(labels[predicted == labels], minlength=int(labels.max()) + 1)
    there = np.bincount(labels)
    return float((right[there > 0] / there[there > 0]).mean())


def _estimate(reference: Answers, labels: Labels, live: Answers) -> tuple[float, float]:
    right = int((reference.predicted == labels).sum())
    # Of the reference, as many reach it as are right.
    threshold = np.append(np.sort(reference.confidence)[::-1], -np.inf)[max(right - 1, 0)]
    accuracy = float((live.confidence >= threshold).mean()) if right else 0.0
    moved = live.expected_recall - reference.expected_recall
    balanced = balanced_accuracy_of(reference.predicted, labels) + moved
    return accuracy, min(max(balanced, 0.0), 1.0)


def _errors(
    reference: Answers, labels: Labels, *, fitted_on: Labels, tried_on: Labels
) -> tuple[float, float]:
    tried, truth = reference[tried_on], labels[tried_on]
    accuracy, balanced = _estimate(reference[fitted_on], labels[fitted_on], tried)
    return (
        accuracy - float((tried.predicted == truth).mean()),
        balanced - balanced_accuracy_of(tried.predicted, truth),
    )


def _within(value: float, errors: Floats) -> Expected:
    low, high = value - np.quantile(errors, (0.975, 0.025))
    return Expected(value, float(min(max(low, 0.0), value)), float(max(min(high, 1.0), value)))
