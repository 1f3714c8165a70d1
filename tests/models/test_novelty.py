"""Novelty is a distance: 1 for what was learned, more the further away, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from models.errors import InvalidPackage
from models.novelty import STATISTICS, NoveltyDetector, fit_novelty

Statistics = npt.NDArray[np.float32]


def _draw(count: int, seed: int) -> Statistics:
    """Correlated numbers of very different size, as channels are."""
    mixing = np.random.default_rng(0).normal(0, 1, (STATISTICS, STATISTICS))
    scale = np.logspace(-3, 2, STATISTICS)
    values = np.random.default_rng(seed).normal(0, 1, (count, STATISTICS)) @ mixing
    return (values * scale + 3 * scale).astype(np.float32)


@pytest.fixture(scope="module")
def detector() -> NoveltyDetector:
    return fit_novelty(_draw(4_000, 1))


def test_what_was_learned_scores_one_on_average(detector: NoveltyDetector) -> None:
    scores = detector.score(_draw(4_000, 1))
    assert scores.shape == (4_000,)
    assert scores.dtype == np.float32
    assert scores.mean() == pytest.approx(1, rel=0.1)


def test_others_of_the_same_kind_score_alike(detector: NoveltyDetector) -> None:
    assert detector.score(_draw(1_000, 2)).mean() == pytest.approx(1, rel=0.2)


def test_it_is_the_mahalanobis_distance(detector: NoveltyDetector) -> None:
    known = _draw(4_000, 1).astype(np.float64)
    exact = fit_novelty(_draw(4_000, 1), shrinkage=0)
    deviations = _draw(5, 3) - known.mean(axis=0)
    inverse = np.linalg.inv(np.cov(known.T))
    expected = (deviations @ inverse * deviations).sum(axis=1) / STATISTICS
    assert exact.score(_draw(5, 3)) == pytest.approx(expected, rel=0.02)


def test_scores_grow_with_the_distance(detector: NoveltyDetector) -> None:
    inside = _draw(1, 4)
    away = (inside - detector.mean) * np.array([[1], [2], [4], [100]]) + detector.mean
    scores = detector.score(away.astype(np.float32))
    assert (np.diff(scores) > 0).all()
    assert scores[3] == pytest.approx(1e4 * scores[0], rel=0.05)


def test_what_breaks_the_correlations_is_novel(detector: NoveltyDetector) -> None:
    known = _draw(1_000, 5)
    rng = np.random.default_rng(0)
    shuffled = np.stack([rng.permutation(column) for column in known.T], axis=1)
    assert np.quantile(detector.score(shuffled), 0.05) > detector.score(known).max()


def test_a_channel_that_never_varies_hurts_nobody() -> None:
    known = _draw(500, 1)
    known[:, 7] = 0
    assert np.isfinite(fit_novelty(known).score(_draw(3, 2))).all()


def test_no_images_no_scores(detector: NoveltyDetector) -> None:
    assert detector.score(np.empty((0, STATISTICS), np.float32)).shape == (0,)


def test_it_is_read_as_it_was_written(detector: NoveltyDetector, tmp_path: Path) -> None:
    detector.save(tmp_path / "novelty")
    again = NoveltyDetector.load(tmp_path / "novelty")
    assert np.array_equal(again.score(_draw(9, 6)), detector.score(_draw(9, 6)))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"mean": np.zeros(STATISTICS, np.float32)},
        {"mean": np.zeros(3, np.float32), "whitening": np.eye(3, dtype=np.float32)},
        {
            "mean": np.zeros(STATISTICS, np.float32),
            "whitening": np.zeros((STATISTICS, 3), np.float32),
        },
    ],
    ids=["empty", "half", "small", "crooked"],
)
def test_another_form_is_refused(tmp_path: Path, tensors: dict[str, Statistics]) -> None:
    save_file(tensors, tmp_path / "novelty")
    with pytest.raises(InvalidPackage, match="novelty"):
        NoveltyDetector.load(tmp_path / "novelty")


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\xff" * 50)
    for name in ("broken", "absent"):
        with pytest.raises(InvalidPackage, match="cannot be read as a novelty detector"):
            NoveltyDetector.load(tmp_path / name)
