"""Embedding drift: the discrepancy as it is defined, and p-values that mean what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kstest

from training.drift.embedding import Rows, embedding_drift


def _rows(seed: int, images: int, shift: float = 0.0) -> Rows:
    return np.random.default_rng(seed).normal(shift, 1, (images, 6)).astype(np.float32)


def _by_definition(reference: Rows, live: Rows) -> float:
    """Equation 3 of Gretton et al., pair by pair."""
    rows = np.concatenate([reference, live]).astype(np.float64)
    width = np.median([np.square(a - b).sum() for a, b in itertools.combinations(rows, 2)])

    def kernel(a: Rows, b: Rows) -> float:
        return float(np.exp(-np.square(a.astype(float) - b).sum() / width))

    def mean(pairs: list[tuple[Rows, Rows]]) -> float:
        return float(np.mean([kernel(a, b) for a, b in pairs]))

    within = [mean(list(itertools.permutations(part, 2))) for part in (reference, live)]
    return sum(within) - 2 * mean(list(itertools.product(reference, live)))


@pytest.mark.parametrize(("images", "others", "shift"), [(2, 2, 0), (9, 5, 0), (12, 20, 1.5)])
def test_the_discrepancy_is_that_of_the_definition(images: int, others: int, shift: float) -> None:
    reference, live = _rows(1, images), _rows(2, others, shift)
    found = embedding_drift(reference, live, permutations=1)
    assert found.mmd == pytest.approx(_by_definition(reference, live), abs=1e-6)


def test_without_drift_p_values_are_uniform_and_the_discrepancy_is_zero_on_average() -> None:
    found = [
        embedding_drift(_rows(2 * n, 40), _rows(2 * n + 1, 25), permutations=99, seed=n)
        for n in range(300)
    ]
    p_values = [each.p_value for each in found]
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09
    values = np.array([each.mmd for each in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_a_shift_is_found(shift: float) -> None:
    found = embedding_drift(_rows(1, 200), _rows(2, 100, shift))
    assert found.p_value == 0.001
    assert found.mmd > 0.01


def test_more_drift_is_a_larger_discrepancy() -> None:
    values = [embedding_drift(_rows(1, 100), _rows(2, 60, s), 9).mmd for s in (0, 0.5, 1, 2)]
    assert values == sorted(values)


def test_a_change_of_spread_alone_is_found() -> None:
    assert embedding_drift(_rows(1, 200), 2 * _rows(2, 100)).p_value < 0.01


def test_large_numbers_cost_no_digits() -> None:
    reference, live = _rows(1, 30), _rows(2, 20, 0.5)
    far = embedding_drift(reference + 1000, live + 1000)
    near = embedding_drift(reference, live)
    assert far.mmd == pytest.approx(near.mmd, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 7.3, 1e6])
def test_images_that_are_all_the_same_do_not_drift(value: float) -> None:
    same = np.full((20, 6), value, np.float32)
    found = embedding_drift(same, same[:10])
    assert found.mmd == pytest.approx(0, abs=1e-6)
    assert found.p_value == 1


def test_live_images_that_are_all_the_same_do() -> None:
    found = embedding_drift(_rows(1, 50), np.zeros((50, 6), np.float32))
    assert found.p_value == 0.001


def test_most_images_the_same_leave_a_kernel() -> None:
    reference = np.concatenate([np.zeros((40, 6), np.float32), _rows(1, 4)])
    found = embedding_drift(reference, reference[:20])
    assert np.isfinite(found.mmd)
    assert found.p_value > 0.01
