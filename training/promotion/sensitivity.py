"""Sensitivity at a specificity: positives found when a score may flag so many of the others."""

from __future__ import annotations

import numpy as np

from training.bootstrap import Weights
from training.judged import Floats, Mask
from training.measures import Values, share


def sensitivity_at_specificity(
    weights: Weights, scores: Floats, positive: Mask, specificity: float
) -> Values:
    """Sensitivity at the lowest threshold that lets the given share of the others pass.

    The threshold is found anew in each resample, so that resampling moves it as another test
    set would.

    Args:
        weights: shape (resamples, images).
        scores: shape (images,); at or above the threshold is flagged.
        positive: what is to be found, shape (images,).
        specificity: in 0..1, the least that is accepted.

    Returns:
        Shape (resamples,), NaN where a resample lacks positives or others.

    Source: Pepe, "The Statistical Evaluation of Medical Tests for Classification and
    Prediction", 2003, on comparing ROC curves at a fixed false-positive rate.
    """
    order = np.argsort(-scores, kind="stable")
    # A threshold cannot part images of equal score.
    cut = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    drawn, found = weights[:, order], positive[order]
    flagged = np.cumsum(drawn * ~found, axis=1)[:, cut]
    hits = np.cumsum(drawn * found, axis=1)[:, cut]
    others, positives = (weights @ ~positive)[:, None], (weights @ positive)[:, None]
    allowed = (1 - specificity) * others + 1e-9
    best = np.where(flagged <= allowed, hits, 0).max(axis=1, keepdims=True)
    return share(np.where(others > 0, best, np.nan), positives)[:, 0]
