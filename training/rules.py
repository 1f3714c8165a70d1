"""Fitting the decision rules: what a package needs beside its weights to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.package import DecisionRules, OperatingPoint
from training.calibration import (
    conformal_threshold,
    fit_temperature,
    threshold_at_sensitivity,
)
from training.evaluate import sensitivity_specificity
from training.predictions import Answers

MELANOMA_SENSITIVITY = 0.90
MALIGNANT_SENSITIVITY = 0.95
PREDICTION_SET_COVERAGE = 0.90
MAX_PREDICTION_SET = 3

_MELANOMA_COLUMNS = (CLASSES.index("mel"),)


def fit_decision_rules(
    validation: Answers,
    test: Answers,
    logit_shift: npt.NDArray[np.float32],
    novelty_threshold: float,
) -> DecisionRules:
    """Fit calibration and thresholds on validation; the test split only reports what they do.

    Args:
        validation: of every class at least one image.
        test: of other images.
        logit_shift: what training added to the logits, shape (7,).
        novelty_threshold: as `fit_novelty` found it.
    """
    shifted = validation.logits + logit_shift
    temperature = fit_temperature(shifted, validation.labels)
    probabilities = {
        "validation": temperature_scale(shifted, temperature),
        "test": temperature_scale(test.logits + logit_shift, temperature),
    }
    labels = {"validation": validation.labels, "test": test.labels}

    def point(columns: Sequence[int], sensitivity: float) -> OperatingPoint:
        return _operating_point(probabilities, labels, columns, sensitivity)

    return DecisionRules(
        logit_shift=tuple(logit_shift.tolist()),
        temperature=temperature,
        melanoma=point(_MELANOMA_COLUMNS, MELANOMA_SENSITIVITY),
        malignant=point(MALIGNANT_COLUMNS, MALIGNANT_SENSITIVITY),
        prediction_set_threshold=conformal_threshold(
            probabilities["validation"], validation.labels, PREDICTION_SET_COVERAGE
        ),
        prediction_set_coverage=PREDICTION_SET_COVERAGE,
        max_prediction_set=MAX_PREDICTION_SET,
        novelty_threshold=novelty_threshold,
    )


def _operating_point(
    probabilities: Mapping[str, npt.NDArray[np.float32]],
    labels: Mapping[str, npt.NDArray[np.int64]],
    columns: Sequence[int],
    sensitivity: float,
) -> OperatingPoint:
    """The threshold on the summed columns with this sensitivity on validation."""
    # The sum of probabilities may round to just above 1.
    scores = {
        name: np.minimum(rows[:, list(columns)].sum(axis=1), 1)
        for name, rows in probabilities.items()
    }
    positive = {name: np.isin(column, columns) for name, column in labels.items()}
    threshold = threshold_at_sensitivity(scores["validation"], positive["validation"], sensitivity)
    test_sensitivity, test_specificity = sensitivity_specificity(
        scores["test"], positive["test"], threshold
    )
    return OperatingPoint(
        threshold=threshold,
        validation_sensitivity=sensitivity,
        test_sensitivity=test_sensitivity,
        test_specificity=test_specificity,
    )
