"""Fitting the decision rules: temperature and thresholds from held-out images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from models.calibration import FloatArray


def fit_temperature(logits: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """The temperature in 0.05..20 with the least negative log-likelihood.

    Args:
        logits: float, shape (images, classes), of held-out images.
        labels: column indices, shape (images,).
    """

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / math.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    bounds = (math.log(0.05), math.log(20))
    return math.exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def expected_calibration_error(
    confidence: FloatArray, correct: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width confidence bins, 0..1.

    Args:
        confidence: probability given to the answer, shape (images,).
        correct: whether the answer was right, shape (images,).
        bins: >= 1.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[index == b].mean() - correct[index == b].mean()) * np.mean(index == b)
        for b in np.unique(index)
    ]
    return float(np.sum(gaps))


def threshold_at_sensitivity(
    scores: FloatArray, positive: npt.NDArray[np.bool_], sensitivity: float
) -> float:
    """The highest threshold at which `score >= threshold` finds the given share of positives.

    Args:
        scores: shape (images,).
        positive: shape (images,), True where the condition is present, at least once.
        sensitivity: in (0, 1].
    """
    ranked = np.sort(scores[positive])
    missed = math.floor((1 - sensitivity) * len(ranked) + 1e-9)
    return float(ranked[min(missed, len(ranked) - 1)])


def conformal_threshold(
    probabilities: FloatArray, labels: npt.NDArray[np.int64], coverage: float
) -> float:
    """The least probability a class needs to enter the prediction set.

    Split conformal prediction with the score 1 - p(true class): on exchangeable images the
    set holds the true class with at least the given probability. 0 if there are too few
    images to promise that.

    Args:
        probabilities: shape (images, classes), of held-out images.
        labels: column indices, shape (images,).
        coverage: in (0, 1).

    Source: Sadinle, Lei, Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded
    Error Levels", JASA 2019.
    """
    count = len(labels)
    # Ranked as they are: 1 - (1 - p) may round above p and shut the very image out.
    likeliest_first = np.sort(probabilities[np.arange(count), labels])[::-1]
    rank = math.ceil((count + 1) * coverage)
    return 0.0 if rank > count else float(likeliest_first[rank - 1])
