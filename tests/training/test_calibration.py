"""Calibration: fitted numbers against known truths and small cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import temperature_scale
from models.classes import CLASSES
from training.calibration import (
    conformal_threshold,
    expected_calibration_error,
    fit_temperature,
    threshold_at_sensitivity,
)

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def _draw(probabilities: Probabilities, rng: np.random.Generator) -> Labels:
    """A label for each row, drawn with the row's own probabilities."""
    edges = probabilities.astype(np.float64).cumsum(axis=1)
    points = rng.random((len(edges), 1)) * edges[:, -1:]
    return (edges < points).sum(axis=1)


def _honest(count: int, seed: int) -> tuple[Probabilities, Probabilities, Labels]:
    """Logits, the probabilities that they mean at temperature 1, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, len(CLASSES))).astype(np.float32)
    probabilities = temperature_scale(logits, 1.0)
    return logits, probabilities, _draw(probabilities, rng)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    logits, _, labels = _honest(20_000, seed=1)
    found = fit_temperature((temperature * logits).astype(np.float32), labels)
    assert found == pytest.approx(temperature, rel=0.05)


def test_the_temperature_has_bounds() -> None:
    logits = (0.5 * np.eye(3)).astype(np.float32)
    always_right, always_wrong = np.array([0, 1, 2]), np.array([1, 2, 0])
    assert fit_temperature(logits, always_right) == pytest.approx(0.05, rel=0.01)
    assert fit_temperature(logits, always_wrong) == pytest.approx(20, rel=0.01)


def _calibration_error(probabilities: Probabilities, labels: Labels) -> float:
    """Of the likeliest class."""
    correct = probabilities.argmax(axis=1) == labels
    return expected_calibration_error(probabilities.max(axis=1), correct)


def test_honest_predictions_have_no_calibration_error() -> None:
    _, probabilities, labels = _honest(50_000, seed=2)
    assert _calibration_error(probabilities, labels) < 0.01


def test_overconfident_predictions_have_one_and_the_temperature_repairs_it() -> None:
    logits, _, labels = _honest(50_000, seed=3)
    loud = 3 * logits
    repaired = temperature_scale(loud, fit_temperature(loud, labels))
    assert _calibration_error(temperature_scale(loud, 1.0), labels) > 0.1
    assert _calibration_error(repaired, labels) < 0.01


def test_the_calibration_error_is_the_gap_weighted_by_bins() -> None:
    # At 0.9 half are right, at 0.6 all, at 0.1 none.
    confidence = np.array([0.9] * 2 + [0.6] * 3 + [0.1], np.float32)
    correct = np.array([True, False, True, True, True, False])
    expected = (2 * 0.4 + 3 * 0.4 + 0.1) / 6
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)
    certain = np.array([0.0, 1.0], np.float32)
    assert expected_calibration_error(certain, np.array([False, True])) == 0
    assert expected_calibration_error(certain, np.array([True, False])) == 1


def test_opposite_errors_in_one_bin_cancel_and_in_two_do_not() -> None:
    confidence, correct = np.array([0.8, 0.6], np.float32), np.array([True, False])
    assert expected_calibration_error(confidence, correct, bins=1) == pytest.approx(0.2)
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("positives", "sensitivity", "threshold"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1.0, 0.1),
        ([0.1, 0.2, 0.3, 0.4], 0.75, 0.2),
        ([0.1, 0.2, 0.3, 0.4], 0.76, 0.1),
        ([0.1, 0.2, 0.3, 0.4], 0.5, 0.3),
        ([0.4, 0.1, 0.3, 0.2], 0.25, 0.4),
        ([0.1, 0.2, 0.3, 0.4], 1e-12, 0.4),
        ([0.5], 0.95, 0.5),
        ([0.5, 0.5, 0.5, 0.9], 0.5, 0.5),  # tied: any higher threshold finds only one
        ([0.1, 0.5, 0.5, 0.5], 0.75, 0.5),
        ([0.0, 1.0], 1.0, 0.0),
        ([n / 100 for n in range(1, 11)], 0.9, 0.02),  # in floats, (1 - 0.9) * 10 is below 1
    ],
)
def test_the_threshold_is_exact(
    positives: list[float], sensitivity: float, threshold: float
) -> None:
    negatives = [0.0, 0.15, 0.99]  # which must not count
    scores = np.array(positives + negatives, np.float32)
    positive = np.array([True] * len(positives) + [False] * len(negatives))
    found = threshold_at_sensitivity(scores, positive, sensitivity)
    assert found == np.float32(threshold)


@settings(deadline=None)
@given(
    positives=st.lists(st.sampled_from(np.linspace(0, 1, 12).tolist()), min_size=1, max_size=60),
    percent=st.integers(1, 100),
)
def test_the_threshold_is_the_highest_that_finds_enough(
    positives: list[float], percent: int
) -> None:
    scores = np.array(positives, np.float32)
    everyone = np.full(len(scores), True)
    threshold = threshold_at_sensitivity(scores, everyone, percent / 100)
    assert 100 * int((scores >= threshold).sum()) >= percent * len(scores)
    assert 100 * int((scores > threshold).sum()) < percent * len(scores)


@pytest.mark.parametrize("coverage", [0.7, 0.9, 0.95])
def test_prediction_sets_hold_the_truth_as_often_as_promised(coverage: float) -> None:
    covered = []
    for seed in range(60):
        logits, _, labels = _honest(1_000, seed)
        probabilities = temperature_scale(logits, 2.5)  # uncalibrated: the promise holds anyway
        threshold = conformal_threshold(probabilities[:300], labels[:300], coverage)
        fresh = probabilities[300:][np.arange(700), labels[300:]]
        covered.append(float((fresh >= threshold).mean()))
    # Its exact expectation is ceil(301 * coverage) / 301; 0.008 is four standard errors.
    assert np.mean(covered) == pytest.approx(math.ceil(301 * coverage) / 301, abs=0.008)


@pytest.mark.parametrize(
    ("count", "coverage", "rank"),
    [(9, 0.9, 9), (9, 0.5, 5), (10, 0.5, 6), (19, 0.9, 18), (99, 0.9, 90)],
)
def test_the_conformal_threshold_is_a_rank(count: int, coverage: float, rank: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):  # of random numbers, half would be lost to rounding in 1 - (1 - p)
        truth = rng.random(count).astype(np.float32)
        probabilities = np.stack([truth, 1 - truth], axis=1)
        threshold = conformal_threshold(probabilities, np.zeros(count, np.int64), coverage)
        assert int((truth >= threshold).sum()) == rank


def test_too_few_images_for_a_coverage_let_every_class_in() -> None:
    probabilities = np.full((8, 2), 0.5, np.float32)
    assert conformal_threshold(probabilities, np.zeros(8, np.int64), 0.9) == 0
