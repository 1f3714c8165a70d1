"""Sensitivity at a specificity: what trying every threshold finds, resample by resample."""

from __future__ import annotations

import numpy as np
import pytest

from training.promotion.sensitivity import sensitivity_at_specificity


def _by_trying(scores: np.ndarray, positive: np.ndarray, specificity: float) -> float:
    found = [0.0]
    for threshold in scores:
        flagged = scores >= threshold
        if (~flagged[~positive]).mean() >= specificity - 1e-9:
            found.append(flagged[positive].mean())
    return max(found)


@pytest.mark.parametrize("decimals", [1, 7], ids=["many ties", "no ties"])
@pytest.mark.parametrize("specificity", [0.0, 0.3, 0.75, 0.99, 1.0])
def test_it_is_what_trying_every_threshold_finds(decimals: int, specificity: float) -> None:
    rng = np.random.default_rng(3)
    positive = rng.random(120) < 0.3
    scores = (rng.random(120) * 0.7 + 0.3 * positive).round(decimals).astype(np.float32)
    weights = rng.integers(0, 3, (20, 120)).astype(float)
    found = sensitivity_at_specificity(weights, scores, positive, specificity)
    for value, weight in zip(found, weights.astype(int), strict=True):
        drawn = np.repeat(np.arange(120), weight)
        assert value == pytest.approx(_by_trying(scores[drawn], positive[drawn], specificity))


def test_false_alarms_buy_nothing() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(200) < 50
    scores = (rng.random(200) * 0.3 + 0.2 * positive).astype(np.float32)
    ones = np.ones((1, 200))
    before = sensitivity_at_specificity(ones, scores, positive, 0.8)
    # A model that raises every score alike flags more at a threshold, and knows no more.
    assert sensitivity_at_specificity(ones, 2 * scores + 0.1, positive, 0.8) == before


@pytest.mark.parametrize("positive", [True, False])
def test_without_positives_or_others_it_is_undefined(positive: bool) -> None:
    scores = np.array([0.2, 0.8], np.float32)
    found = sensitivity_at_specificity(np.ones((3, 2)), scores, np.full(2, positive), 0.5)
    assert np.isnan(found).all()


def test_one_score_for_all_finds_nothing_or_everything() -> None:
    scores, positive = np.full(10, 0.5, np.float32), np.arange(10) < 4
    assert sensitivity_at_specificity(np.ones((1, 10)), scores, positive, 0.1) == [0]
    assert sensitivity_at_specificity(np.ones((1, 10)), scores, positive, 0.0) == [1]
