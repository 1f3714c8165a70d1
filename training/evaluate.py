"""Evaluation: what a model is worth on a split, never as plain accuracy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score, precision_score, roc_auc_score, roc_curve

from models.classes import CLASSES
from models.errors import InvalidConfiguration
from training.bootstrap import Weights
from training.calibration import expected_calibration_error
from training.estimates import Estimates, rates
from training.judged import Floats, Judged, Labels, Mask
from training.measures import (
    CALIBRATION_BINS,
    Values,
    calibration_bin,
    confusion_matrices,
    log_losses,
    measure,
    squared_errors,
)
from training.results import (
    Calibration,
    ClassResult,
    Confusion,
    Estimate,
    Evaluation,
    ReliabilityBin,
    RocCurve,
)
from training.subgroups import MINIMUM_IMAGES, subgroups

NEVUS = CLASSES.index("nv")
MAX_ROC_POINTS = 200


def evaluate(
    judged: Judged,
    bootstrap: int = 1000,
    seed: int = 0,
    *,
    malignant_threshold: float | None = None,
) -> Evaluation:
    """Judge predictions, with intervals from resampled lesions.

    Args:
        judged: the predictions; classes may be missing, their results are then None.
        bootstrap: resamples; 0 leaves the intervals out.
        seed: of the resamples.
        malignant_threshold: of the malignant score, in 0..1; None leaves sensitivity and
            specificity out.

    Raises:
        InvalidConfiguration: if the threshold is outside 0..1 or `bootstrap` is negative.
    """
    if malignant_threshold is not None and not 0 <= malignant_threshold <= 1:
        raise InvalidConfiguration(
            f"The malignant threshold has to lie between 0 and 1, not {malignant_threshold}."
        )

    def measures(weights: Weights) -> dict[str, Values]:
        return measure(weights, judged)

    estimates = Estimates.of(judged, measures, bootstrap, seed)
    return Evaluation(
        images=len(judged),
        lesions=judged.count_lesions(),
        resamples=bootstrap,
        seed=seed,
        balanced_accuracy=estimates.require("balanced_accuracy"),
        accuracy=estimates.require("accuracy"),
        accuracy_always_nv=float((judged.labels == NEVUS).mean()),
        macro_auc=estimates.get("macro_auc"),
        malignant_auc=estimates.get("malignant_auc"),
        brier_score=estimates.require("brier_score"),
        negative_log_likelihood=estimates.require("negative_log_likelihood"),
        expected_calibration_error=estimates.require("expected_calibration_error"),
        by_class={code: _class_result(estimates, i) for i, code in enumerate(CLASSES)},
        confusion=_confusion(judged),
        roc=_roc_curves(judged),
        reliability=_reliability(judged.confidence, judged.predicted == judged.labels),
        malignant_threshold=malignant_threshold,
        malignant=(
            None
            if malignant_threshold is None
            else rates(judged, malignant_threshold, bootstrap, seed)
        ),
        minimum_images=MINIMUM_IMAGES,
        subgroups=subgroups(judged, malignant_threshold, bootstrap, seed),
    )


def calibration_of(probabilities: Floats, predicted: Labels, labels: Labels) -> Calibration:
    """How far probabilities mean what they say, to compare them before and after calibration.

    Args:
        probabilities: shape (images, 7), rows summing to 1.
        predicted: the decisions, columns of `CLASSES`, shape (images,).
        labels: columns of `CLASSES`, shape (images,).
    """
    confidence, correct = probabilities[np.arange(len(labels)), predicted], predicted == labels
    return Calibration(
        expected_calibration_error=expected_calibration_error(confidence, correct),
        brier_score=float(squared_errors(probabilities, labels).mean()),
        negative_log_likelihood=float(log_losses(probabilities, labels).mean()),
        reliability=_reliability(confidence, correct),
    )


def quick_metrics(
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


def _class_result(estimates: Estimates, column: int) -> ClassResult:
    judged = estimates.judged
    positive, called = judged.labels == column, judged.predicted == column
    absent = not positive.any()

    def get(name: str, share_of: Mask | None = None) -> Estimate | None:
        return None if absent else estimates.get(name, column, share_of=share_of)

    return ClassResult(
        images=int(positive.sum()),
        lesions=judged.count_lesions(positive),
        auc=get("auc"),
        precision=get("precision", called),
        recall=get("recall", positive),
        specificity=get("specificity", ~positive),
        f1=get("f1"),
        calibration_error=get("calibration_error"),
    )


def _confusion(judged: Judged) -> Confusion:
    ones = np.ones((1, len(judged)))
    counts = confusion_matrices(ones, judged.labels, judged.predicted)[0].astype(int)
    return Confusion(
        classes=CLASSES,
        counts=tuple(tuple(row) for row in counts.tolist()),
        shares=tuple(tuple((row / row.sum()).tolist()) if row.any() else None for row in counts),
    )


def _roc_curves(judged: Judged) -> dict[str, RocCurve]:
    """Of every class that the split has images of, and of all malignant ones together."""
    cases = {
        code: (judged.labels == column, judged.probabilities[:, column])
        for column, code in enumerate(CLASSES)
    }
    cases["malignant"] = (judged.malignant, judged.malignant_score)
    curves = {}
    for name, (positive, scores) in cases.items():
        if positive.any() and not positive.all():
            false_positive, true_positive, _ = roc_curve(positive, scores)
            last = len(false_positive) - 1
            kept = np.unique(
                np.linspace(0, last, min(MAX_ROC_POINTS, last + 1)).round().astype(int)
            )
            curves[name] = RocCurve(
                false_positive_rate=tuple(false_positive[kept].tolist()),
                true_positive_rate=tuple(true_positive[kept].tolist()),
            )
    return curves


def _reliability(confidence: Floats, correct: Mask) -> tuple[ReliabilityBin, ...]:
    index = calibration_bin(confidence)
    bins = []
    for number in range(CALIBRATION_BINS):
        members = index == number
        bins.append(
            ReliabilityBin(
                low=number / CALIBRATION_BINS,
                high=(number + 1) / CALIBRATION_BINS,
                images=int(members.sum()),
                correct=int(correct[members].sum()),
                confidence=float(confidence[members].mean()) if members.any() else None,
            )
        )
    return tuple(bins)
