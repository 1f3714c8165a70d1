"""Measures of a classifier under weights, for all resamples of the images at once.

Each takes `weights`, float64 of shape (resamples, images): how often an image counts. A row of
ones gives the plain measure. A measure that has nothing to divide by is NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from training.bootstrap import Weights
from training.judged import Floats, Judged, Labels, Mask, Target

CALIBRATION_BINS = 15

CALIBRATION_ERRORS = frozenset({"expected_calibration_error", "calibration_error"})
"""Names of the measures that `calibration_error` gives."""

Values = npt.NDArray[np.float64]


def confusion_matrices(weights: Weights, labels: Labels, predicted: Labels) -> Values:
    """Weight per true class (row) and decision (column), shape (resamples, 7, 7)."""
    size = len(CLASSES)
    cells = np.eye(size * size)[labels * size + predicted]
    matrices: Values = (weights @ cells).reshape(-1, size, size)
    return matrices


def share(part: Values, whole: Values) -> Values:
    """`part / whole`, NaN where the whole is 0."""
    undefined = np.full(np.broadcast(part, whole).shape, np.nan)
    shares: Values = np.divide(part, whole, out=undefined, where=whole > 0)
    return shares


def mean_of_defined(values: Values) -> Values:
    """Mean over the last axis without its NaN, NaN where nothing else is."""
    defined = np.isfinite(values)
    return share(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(float))


def auc(weights: Weights, scores: Floats, positive: Mask) -> Values:
    """Area under the ROC curve, shape (resamples,); a tie counts half.

    Source: Hanley, McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982.
    """
    negative = np.flatnonzero(~positive)
    order = negative[np.argsort(scores[negative], kind="stable")]
    reached = np.zeros((len(weights), len(order) + 1))
    np.cumsum(weights[:, order], axis=1, out=reached[:, 1:])
    below = np.searchsorted(scores[order], scores[positive], side="left")
    not_above = np.searchsorted(scores[order], scores[positive], side="right")
    drawn = weights[:, positive]
    won = (drawn * (reached[:, below] + reached[:, not_above])).sum(axis=1) / 2
    return share(won, drawn.sum(axis=1) * reached[:, -1])


def calibration_error(weights: Weights, confidence: Floats, correct: Mask) -> Values:
    """Expected calibration error over `CALIBRATION_BINS` equal-width bins, shape (resamples,).

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    member = np.eye(CALIBRATION_BINS)[calibration_bin(confidence)]
    gaps = np.abs(weights @ (member * (confidence - correct)[:, None])).sum(axis=1)
    return share(gaps, weights.sum(axis=1))


def calibration_bin(confidence: Floats) -> npt.NDArray[np.int64]:
    """The bin of each confidence, 0 to `CALIBRATION_BINS` - 1, shape (images,)."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def squared_errors(probabilities: Floats, labels: Labels) -> Values:
    """Each image's part of the Brier score, 0 to 2, shape (images,).

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    differences = probabilities.astype(np.float64) - np.eye(len(CLASSES))[labels]
    squares: Values = (differences**2).sum(axis=1)
    return squares


def log_losses(probabilities: Floats, labels: Labels) -> Values:
    """Each image's negative log-likelihood in nats, shape (images,).

    A probability that has rounded to 0 counts as the least positive float32.
    """
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(true, np.finfo(np.float32).tiny))


def rates_at(
    weights: Weights, judged: Judged, threshold: float, target: Target = "malignant"
) -> tuple[Values, Values]:
    """Sensitivity and specificity of `score >= threshold`, each (resamples,)."""
    scores, positive = judged.scored(target)
    flagged = scores >= threshold
    found, cleared = weights @ (positive & flagged), weights @ (~positive & ~flagged)
    return share(found, weights @ positive), share(cleared, weights @ ~positive)


def measure(weights: Weights, judged: Judged) -> dict[str, Values]:
    """Every measure of the seven classes by its name.

    Returns:
        Shape (resamples,), or (resamples, 7) for measures of each class.
    """
    labels, probabilities, predicted = judged.labels, judged.probabilities, judged.predicted
    total = weights.sum(axis=1)
    matrix = confusion_matrices(weights, labels, predicted)
    right = np.diagonal(matrix, axis1=1, axis2=2)
    actual, called = matrix.sum(axis=2), matrix.sum(axis=1)
    recall = share(right, actual)
    aucs, errors = [], []
    for column in range(len(CLASSES)):
        aucs.append(auc(weights, probabilities[:, column], labels == column))
        errors.append(calibration_error(weights, probabilities[:, column], labels == column))
    class_auc = np.stack(aucs, axis=1)
    present = actual > 0
    return {
        "balanced_accuracy": mean_of_defined(recall),
        "accuracy": share(right.sum(axis=1), total),
        "macro_auc": mean_of_defined(class_auc),
        "malignant_auc": auc(weights, judged.malignant_score, judged.malignant),
        "brier_score": share(weights @ squared_errors(probabilities, labels), total),
        "negative_log_likelihood": share(weights @ log_losses(probabilities, labels), total),
        "expected_calibration_error": calibration_error(
            weights, judged.confidence, predicted == labels
        ),
        "auc": class_auc,
        "precision": np.where(present, share(right, called), np.nan),
        "recall": recall,
        "specificity": share(total[:, None] - actual - called + right, total[:, None] - actual),
        "f1": np.where(present, share(2 * right, actual + called), np.nan),
        "calibration_error": np.where(present, np.stack(errors, axis=1), np.nan),
    }
