"""Evaluation: against scikit-learn and against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from models.classes import CLASSES
from training.evaluation import evaluate, sensitivity_specificity

NV = CLASSES.index("nv")


Predictions = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Decisions, probabilities and labels."""


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """A fair classifier on 400 unbalanced images, which decides against some likeliest class."""
    rng = np.random.default_rng(0)
    frequencies = np.array([0.05, 0.08, 0.12, 0.04, 0.13, 0.53, 0.05])
    labels = rng.choice(len(CLASSES), 400, p=frequencies)
    logits = rng.normal(0, 1, (400, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    exponents = frequencies * np.exp(logits)
    probabilities = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return logits.argmax(axis=1), probabilities, labels


def test_the_measures_are_scikit_learns(predictions: Predictions) -> None:
    predicted, probabilities, labels = predictions
    assert (predicted != probabilities.argmax(axis=1)).any()
    result: Any = evaluate(predicted, probabilities, labels)

    assert result["images"] == 400
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert result["balanced_accuracy"] == pytest.approx(
        metrics.recall_score(labels, predicted, average="macro")
    )
    assert result["macro_auc"] == pytest.approx(
        metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )
    assert result["accuracy_always_nv"] == pytest.approx((labels == NV).mean())
    report = metrics.classification_report(
        labels, predicted, target_names=CLASSES, output_dict=True
    )
    for code in CLASSES:
        entry = result["by_class"][code]
        assert entry["images"] == report[code]["support"]
        assert entry["recall"] == pytest.approx(report[code]["recall"])
        assert entry["precision"] == pytest.approx(report[code]["precision"])


def test_the_measures_by_hand() -> None:
    # One image of each class; all are called nv with 0.4, the other classes share 0.6.
    probabilities = np.full((7, 7), 0.1, np.float32)
    probabilities[:, NV] = 0.4
    result: Any = evaluate(np.full(7, NV), probabilities, np.arange(7))
    assert result["accuracy"] == pytest.approx(1 / 7)
    assert result["balanced_accuracy"] == pytest.approx(1 / 7)
    assert result["macro_auc"] == pytest.approx(0.5)
    assert result["expected_calibration_error"] == pytest.approx(0.4 - 1 / 7)
    others = (1 - 0.1) ** 2 + 0.4**2 + 5 * 0.1**2
    nevus = (1 - 0.4) ** 2 + 6 * 0.1**2
    assert result["brier_score"] == pytest.approx((6 * others + nevus) / 7)
    assert result["by_class"]["nv"] == pytest.approx(
        {"images": 1, "recall": 1, "precision": 1 / 7, "auc": 0.5}
    )
    # Never predicted: no precision to speak of, which counts as none.
    assert result["by_class"]["mel"] == pytest.approx(
        {"images": 1, "recall": 0, "precision": 0, "auc": 0.5}
    )


def test_calibration_is_that_of_the_decision_and_not_of_the_likeliest_class() -> None:
    # nv is likelier with 0.4, but mel is decided, with 0.1 and right once in seven.
    probabilities = np.full((7, 7), 0.1, np.float32)
    probabilities[:, NV] = 0.4
    result: Any = evaluate(np.full(7, CLASSES.index("mel")), probabilities, np.arange(7))
    assert result["expected_calibration_error"] == pytest.approx(1 / 7 - 0.1)


def test_perfection() -> None:
    labels = np.tile(np.arange(7), 3)
    result: Any = evaluate(labels, np.eye(7, dtype=np.float32)[labels], labels)
    shares = ("accuracy", "balanced_accuracy", "macro_auc")
    assert [result[name] for name in shares] == [1, 1, 1]
    assert result["brier_score"] == result["expected_calibration_error"] == 0


def test_a_score_on_the_threshold_is_flagged() -> None:
    scores = np.array([0.2, 0.5, 0.9, 0.1, 0.5, 0.7], np.float32)
    positive = np.array([True, True, True, False, False, False])
    assert sensitivity_specificity(scores, positive, 0.5) == pytest.approx((2 / 3, 1 / 3))
    assert sensitivity_specificity(scores, positive, 0.0) == (1, 0)
    assert sensitivity_specificity(scores, positive, 1.0) == (0, 1)
