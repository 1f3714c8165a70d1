"""Measures: under weights they are scikit-learn's, and undefined is NaN without a warning."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from models.classes import CLASSES
from tests.training.predictions import judged
from training.calibration import expected_calibration_error
from training.measures import (
    auc,
    calibration_error,
    confusion_matrices,
    log_losses,
    mean_of_defined,
    measure,
    rates_at,
    share,
    squared_errors,
)

SPLIT = judged(400)
WEIGHTS = np.random.default_rng(5).integers(0, 4, (6, len(SPLIT))).astype(float)


@pytest.mark.parametrize("decimals", [1, 7], ids=["many ties", "no ties"])
def test_auc_is_scikit_learns(decimals: int) -> None:
    for column in range(len(CLASSES)):
        scores = SPLIT.probabilities[:, column].round(decimals)
        positive = SPLIT.labels == column
        expected = [metrics.roc_auc_score(positive, scores, sample_weight=w) for w in WEIGHTS]
        assert auc(WEIGHTS, scores, positive) == pytest.approx(expected)


def test_counts_and_shares_are_scikit_learns() -> None:
    values = measure(WEIGHTS, SPLIT)
    for row, weights in enumerate(WEIGHTS):
        matrix = confusion_matrices(WEIGHTS, SPLIT.labels, SPLIT.predicted)[row]
        both = (SPLIT.labels, SPLIT.predicted)
        assert matrix == pytest.approx(metrics.confusion_matrix(*both, sample_weight=weights))
        assert values["accuracy"][row] == pytest.approx(
            metrics.accuracy_score(*both, sample_weight=weights)
        )
        assert values["balanced_accuracy"][row] == pytest.approx(
            metrics.recall_score(*both, average="macro", sample_weight=weights)
        )
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            *both, sample_weight=weights
        )
        assert values["precision"][row] == pytest.approx(precision)
        assert values["recall"][row] == pytest.approx(recall)
        assert values["f1"][row] == pytest.approx(f1)
        negative = SPLIT.labels != 4
        assert values["specificity"][row, 4] == pytest.approx(
            np.average(SPLIT.predicted[negative] != 4, weights=weights[negative])
        )
        assert values["negative_log_likelihood"][row] == pytest.approx(
            metrics.log_loss(SPLIT.labels, SPLIT.probabilities, sample_weight=weights), rel=1e-4
        )


def test_calibration_error_counts_an_image_as_often_as_its_weight() -> None:
    confidence, correct = SPLIT.confidence, SPLIT.predicted == SPLIT.labels
    for weights in WEIGHTS:
        repeated = np.repeat(np.arange(len(SPLIT)), weights.astype(int))
        assert calibration_error(weights[None], confidence, correct) == pytest.approx(
            expected_calibration_error(confidence[repeated], correct[repeated])
        )


def test_losses_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5, 0, 0, 0, 0, 0]] * 2, np.float32)
    labels = np.array([0, 2])
    assert squared_errors(probabilities, labels) == pytest.approx([0.5, 1.5])
    losses = log_losses(probabilities, labels)
    assert losses[0] == pytest.approx(np.log(2))
    assert 80 < losses[1] < np.inf


def test_undefined_is_nan_and_means_leave_it_out() -> None:
    assert share(np.array([1.0, 0.0]), np.array([2.0, 0.0])) == pytest.approx(
        [0.5, np.nan], nan_ok=True
    )
    assert mean_of_defined(np.array([[1.0, np.nan, 0.5]])) == pytest.approx([0.75])
    assert np.isnan(mean_of_defined(np.full((1, 3), np.nan))).all()
    nothing = np.zeros(len(SPLIT), bool)
    assert np.isnan(auc(WEIGHTS, SPLIT.malignant_score, nothing)).all()
    assert np.isnan(auc(WEIGHTS, SPLIT.malignant_score, ~nothing)).all()


def test_a_score_on_the_threshold_is_flagged() -> None:
    threshold = float(SPLIT.malignant_score[SPLIT.malignant].min())
    sensitivity, specificity = rates_at(np.ones((1, len(SPLIT))), SPLIT, threshold)
    assert sensitivity == 1
    assert specificity == pytest.approx(
        np.mean(SPLIT.malignant_score[~SPLIT.malignant] < threshold)
    )
