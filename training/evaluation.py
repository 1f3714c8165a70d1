"""Evaluation: what a model is worth on a split, never as plain accuracy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score, precision_score, roc_auc_score

from models.classes import CLASSES
from training.calibration import expected_calibration_error

NEVUS = CLASSES.index("nv")


def evaluate(
    predicted: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
) -> dict[str, object]:
    """Measure predictions against labels.

    Args:
        predicted: the decisions, columns of `CLASSES`, shape (images,).
        probabilities: shape (images, 7), rows summing to 1.
        labels: columns of `CLASSES`, shape (images,); every class present.

    Returns:
        Balanced accuracy, accuracy beside that of always answering nv, macro and per-class
        one-versus-rest AUC, recall, precision, expected calibration error, Brier score and
        counts; shares in 0..1.
    """
    precision = precision_score(
        labels, predicted, labels=range(len(CLASSES)), average=None, zero_division=0.0
    )
    by_class = {}
    for column, code in enumerate(CLASSES):
        positive = labels == column
        by_class[code] = {
            "images": int(positive.sum()),
            "recall": float((predicted[positive] == column).mean()),
            "precision": float(precision[column]),
            "auc": float(roc_auc_score(positive, probabilities[:, column])),
        }
    one_hot = np.eye(len(CLASSES))[labels]
    return {
        "images": len(labels),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "accuracy": float((predicted == labels).mean()),
        "accuracy_always_nv": float((labels == NEVUS).mean()),
        "macro_auc": float(np.mean([entry["auc"] for entry in by_class.values()])),
        "expected_calibration_error": expected_calibration_error(
            probabilities[np.arange(len(labels)), predicted], predicted == labels
        ),
        "brier_score": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "by_class": by_class,
    }


def sensitivity_specificity(
    scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_], threshold: float
) -> tuple[float, float]:
    """Share of positives at or above the threshold, share of negatives below it; each in 0..1."""
    flagged = scores >= threshold
    return float(flagged[positive].mean()), float((~flagged[~positive]).mean())
