"""Class-mix drift: the exact distribution behind p-values, and prevalences that come back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact, kstest

from models.classes import CLASSES
from training.drift.class_mix import class_mix_drift, estimate_prevalence, reweighted

MIX = np.array([0.04, 0.05, 0.11, 0.01, 0.11, 0.66, 0.02])


def _counts(seed: int, images: int, mix: np.ndarray = MIX) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(images, mix)


def test_with_many_answers_it_is_the_chi_square_test() -> None:
    reference, live = _counts(1, 4000), _counts(2, 2000, MIX[::-1] * 0.015 + MIX * 0.985)
    known = chi2_contingency(np.stack([reference, live])).pvalue
    assert 1e-3 < known < 0.9
    assert class_mix_drift(reference, live).p_value == pytest.approx(known, rel=0.2)


def test_with_few_answers_it_is_the_exact_test() -> None:
    reference, live = np.array([8, 2, 0]), np.array([1, 5, 0])
    exact = fisher_exact([[8, 2], [1, 5]]).pvalue
    assert class_mix_drift(reference, live, 99_999).p_value == pytest.approx(exact, rel=0.05)


def test_without_drift_p_values_are_uniform() -> None:
    p_values = [
        class_mix_drift(_counts(2 * n, 900), _counts(2 * n + 1, 200), 199, n).p_value
        for n in range(300)
    ]
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_another_mix_is_found() -> None:
    found = class_mix_drift(_counts(1, 900), _counts(2, 200, np.ones(7) / 7))
    assert found.p_value == 0.0001
    assert 0.3 < found.distance < 1


def test_distances_at_their_ends() -> None:
    assert class_mix_drift(np.array([5, 5, 0]), np.array([5, 5, 0])).distance == 0
    assert class_mix_drift(np.array([5, 5, 0]), np.array([0, 0, 9])).distance == 1


@pytest.mark.parametrize("live", [[0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 500, 0]])
def test_one_answer_and_one_class(live: list[int]) -> None:
    found = class_mix_drift(_counts(1, 900), np.array(live))
    assert 0 < found.p_value <= 1
    assert (found.p_value < 0.01) == (sum(live) > 1)


def _probabilities(seed: int, images: int, mix: np.ndarray) -> np.ndarray:
    """Exact probabilities, at the frequencies of `MIX`, of images that are a point on a line."""
    random = np.random.default_rng(seed)
    points = random.choice(len(CLASSES), images, p=mix) + random.normal(0, 0.5, images)
    likelihoods = np.exp(-np.square(points[:, None] - np.arange(len(CLASSES))) / (2 * 0.25))
    joint = likelihoods * MIX
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("mix", [MIX, MIX[::-1], np.ones(7) / 7, np.eye(7)[4]])
def test_the_frequencies_of_label_shift_come_back(mix: np.ndarray) -> None:
    found = estimate_prevalence(_probabilities(3, 20_000, mix), MIX)
    assert found == pytest.approx(mix, abs=0.02)
    assert found.sum() == pytest.approx(1)


def test_one_image_has_a_prevalence() -> None:
    found = estimate_prevalence(np.eye(7)[[2]], MIX)
    assert found == pytest.approx(np.eye(7)[2])


def test_probabilities_move_to_other_frequencies() -> None:
    uniform = np.ones(7) / 7
    there = reweighted(_probabilities(3, 50, MIX), MIX, uniform)
    assert reweighted(there, uniform, MIX) == pytest.approx(_probabilities(3, 50, MIX))
