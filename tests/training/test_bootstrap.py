"""The bootstrap: lesions stay whole, classes never vanish, intervals are honest."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import InvalidConfiguration
from tests.training.predictions import judged
from training.bootstrap import lesion_resamples, percentile_interval, wilson_interval


def _weights(labels: np.ndarray, lesions: list[str], resamples: int, seed: int) -> np.ndarray:
    return np.concatenate(list(lesion_resamples(labels, lesions, resamples, seed)))


def test_lesions_are_drawn_whole_and_within_their_class() -> None:
    split = judged(300)
    lesions = [image.lesion_id for image in split.images]
    weights = _weights(split.labels, lesions, 50, seed=1)
    assert weights.shape == (50, len(split))
    firsts = {lesion: lesions.index(lesion) for lesion in lesions}
    for column, lesion in enumerate(lesions):
        assert np.array_equal(weights[:, column], weights[:, firsts[lesion]])
    for label in range(7):
        of_class = [i for i in firsts.values() if split.labels[i] == label]
        assert (weights[:, of_class].sum(axis=1) == len(of_class)).all()
    assert len(np.unique(weights, axis=0)) == 50


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    split = judged(200)
    lesions = [image.lesion_id for image in split.images]
    whole = _weights(split.labels, lesions, 40, seed=3)
    assert np.array_equal(whole, _weights(split.labels, lesions, 40, seed=3))
    assert not np.array_equal(whole, _weights(split.labels, lesions, 40, seed=4))
    monkeypatch.setattr("training.bootstrap._MAX_WEIGHTS", 10)
    blocks = list(lesion_resamples(split.labels, lesions, 40, 3))
    assert [len(block) for block in blocks] == [1] * 40


def test_copies_of_an_image_are_no_further_evidence() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(80) < 0.7
    lesions = [f"L{i}" for i in range(80)]

    def interval(copies: int) -> float:
        labels = np.zeros(80 * copies, np.int64)
        weights = _weights(labels, lesions * copies, 2000, seed=0)
        found = percentile_interval(weights @ np.tile(right, copies) / weights.sum(axis=1))
        assert found is not None
        return found[1] - found[0]

    assert interval(5) == pytest.approx(interval(1), rel=0.1)
    # The textbook width of a share of 80 independent trials.
    share = right.mean()
    assert interval(1) == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 80), rel=0.15)


def test_no_interval_where_nothing_moves_or_much_is_undefined() -> None:
    assert percentile_interval(np.full(100, 0.5)) is None
    assert percentile_interval(np.full(100, np.nan)) is None
    assert percentile_interval(np.array([])) is None
    assert percentile_interval(np.r_[np.full(10, np.nan), np.linspace(0, 1, 90)]) is None
    few = percentile_interval(np.r_[np.full(3, np.nan), np.linspace(0, 1, 97)])
    assert few == pytest.approx((0.025, 0.975))


def test_a_centred_interval_holds_its_centre_and_stays_above_zero() -> None:
    values = np.linspace(0.02, 0.04, 101)
    assert percentile_interval(values, 0.02) == pytest.approx((0.0105, 0.0295))
    low, _ = percentile_interval(values, 0.001) or (None, None)
    assert low == 0


def test_wilson_by_hand() -> None:
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(0, 0) is None


def test_fewer_than_no_resamples_are_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="0 or more"):
        next(lesion_resamples(np.zeros(1, np.int64), ["a"], -1, 0))
    assert list(lesion_resamples(np.zeros(1, np.int64), ["a"], 0, 0)) == []
