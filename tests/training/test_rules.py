"""The decision rules are fitted on validation, and the test split only reports them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.decision import Decision, calibrated_probabilities, decide
from models.package import DecisionRules
from training.predictions import Predictions
from training.rules import fit_decision_rules

FREQUENCIES = np.array([0.05, 0.08, 0.12, 0.04, 0.13, 0.53, 0.05])
SHIFT = np.log(FREQUENCIES).astype(np.float32)
NO_SHIFT = np.zeros(len(CLASSES), np.float32)


def _predictions(seed: int, loudness: float = 1.0, count: int = 7_000) -> Predictions:
    """What each image says for each class, and labels at HAM10000's frequencies.

    The logits, 1.5 times a normal around 1.5 for the true class and 0 for the others, are the
    exact logarithms of the likelihoods; `loudness` makes them overconfident.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), count, p=FREQUENCIES)
    evidence = rng.normal(0, 1, (count, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    return _of(loudness * 1.5 * evidence, labels)


def _of(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Predictions:
    """Predictions of images that nobody looks at."""
    nothing = np.empty((len(labels), 0), np.float32)
    return Predictions((), labels, logits.astype(np.float32), nothing, nothing)


def _fit(
    validation: Predictions, test: Predictions, shift: npt.NDArray[np.float32]
) -> DecisionRules:
    return fit_decision_rules(validation, test, shift, novelty_threshold=2.0)


def _decide(logits: npt.NDArray[np.float32], rules: DecisionRules) -> list[Decision]:
    return decide(logits, np.zeros(len(logits), np.float32), rules)


def _loss(predictions: Predictions, rules: DecisionRules) -> float:
    """Negative log-likelihood of the labels."""
    logits, labels = predictions.logits, predictions.labels
    probabilities = calibrated_probabilities(logits, rules)
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


def test_the_rules_are_fitted_on_validation_and_reported_on_test() -> None:
    validation, test = _predictions(1, loudness=2), _predictions(2, loudness=2)
    rules = _fit(validation, test, SHIFT)
    assert rules.logit_shift == tuple(SHIFT.tolist())
    assert rules.temperature > 1.2  # the predictions are overconfident
    best, *worse = (
        _loss(validation, rules.model_copy(update={"temperature": factor * rules.temperature}))
        for factor in (1, 0.97, 1.03)
    )
    assert best < min(worse)
    for part, sensitivity in (
        (validation, 0.95),
        (test, rules.malignant.test_sensitivity),
    ):
        labels = part.labels
        decisions = _decide(part.logits, rules)
        malignant = np.isin(labels, MALIGNANT_COLUMNS)
        scores = np.array([decision.malignant_score for decision in decisions])
        flagged = scores >= rules.malignant.threshold
        assert flagged[malignant].mean() == pytest.approx(sensitivity, abs=1e-3)
        truth = [CLASSES[label] for label in labels]
        held = [code in d.prediction_set for code, d in zip(truth, decisions, strict=True)]
        assert np.mean(held) == pytest.approx(rules.prediction_set_coverage, abs=0.02)
    mel = CLASSES.index("mel")
    scores = calibrated_probabilities(validation.logits, rules)[:, mel]
    found = scores[validation.labels == mel] >= rules.melanoma.threshold
    assert found.mean() == pytest.approx(0.90, abs=2e-3)
    assert rules.melanoma.test_sensitivity == pytest.approx(0.90, abs=0.05)
    assert 0 < rules.melanoma.test_specificity < 1
    assert rules.novelty_threshold == 2.0
    assert (~flagged[~malignant]).mean() == pytest.approx(rules.malignant.test_specificity)
    assert rules.malignant.test_sensitivity == pytest.approx(0.95, abs=0.02)
    assert _fit(validation, _predictions(3), SHIFT).temperature == rules.temperature


def test_the_shift_puts_the_class_frequencies_into_the_probabilities() -> None:
    made_up = _predictions(1, count=40_000)

    def mean_probabilities(shift: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        rules = _fit(made_up, made_up, shift)
        return calibrated_probabilities(made_up.logits, rules).mean(axis=0)

    assert _fit(made_up, made_up, SHIFT).temperature == pytest.approx(1, rel=0.03)
    assert mean_probabilities(SHIFT) == pytest.approx(FREQUENCIES, rel=0.1)
    assert mean_probabilities(NO_SHIFT) != pytest.approx(FREQUENCIES, rel=0.1)


def test_malignant_scores_that_round_above_one_keep_the_threshold_a_probability() -> None:
    labels = np.array([4, 4, 0, 1, 5, 5, 5])
    raw_scores = []
    for akiec, bcc, mel in ((0.6, 0.8, 1.7), (1.3, 1.5, 2.0), (1.9, 2.3, 3.1), (0.5, 1.5, 2.0)):
        malignant = [akiec, bcc, -40, -40, mel, -40, -40]
        benign = [-40, -40, -40, -40, -40, 40, -40]
        logits = np.array([malignant] * 4 + [benign] * 3, np.float32)
        rules = _fit(_of(logits, labels), _of(logits, labels), NO_SHIFT)
        assert rules.malignant.threshold <= 1
        assert rules.malignant.test_sensitivity == rules.malignant.test_specificity == 1
        assert _decide(logits[:1], rules)[0].malignant_score >= rules.malignant.threshold
        probabilities = temperature_scale(logits, rules.temperature)
        raw_scores += probabilities[:, MALIGNANT_COLUMNS].sum(axis=1).tolist()
    assert max(raw_scores) > 1  # else this test has lost its cases
