"""Comparison: both models answer for the same lesions, and the interval holds their difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image
from training.evaluate import evaluate
from training.judged import InvalidPredictions, Judged
from training.promotion.comparison import Comparison, balanced_accuracy
from training.promotion.gate_file import GateFile

SHIPPED = GateFile.load()


def _noisy(before: Judged, seed: int = 0, noise: float = 0.5) -> Judged:
    """Another model: the same logits, disturbed."""
    rng = np.random.default_rng(seed)
    return judge(list(before.images), before.logits + rng.normal(0, noise, before.logits.shape))


def _binary(right: np.ndarray, images_of_lesion: int = 1) -> Judged:
    """Melanomas and nevi in turn; True where the model is right."""
    images, rows = [], []
    for lesion, correct in enumerate(right):
        code, other = ("mel", "nv") if lesion % 2 else ("nv", "mel")
        for _ in range(images_of_lesion):
            images.append(lesion_image(code, len(images), lesion=f"L{lesion}"))
            rows.append(5 * np.eye(7)[CLASSES.index(code if correct else other)])
    return judge(images, np.stack(rows))


def test_the_values_are_those_of_the_evaluation() -> None:
    before = judged(400)
    after = _noisy(before)
    found = Comparison.of(before, after, SHIPPED)
    for name, measure in {
        "balanced_accuracy": "balanced_accuracy",
        "calibration": "expected_calibration_error",
    }.items():
        one = found.require(name)
        champion, challenger = (getattr(evaluate(j, 0), measure).value for j in (before, after))
        assert (one.champion, one.challenger) == pytest.approx((champion, challenger))
        assert one.value == pytest.approx(challenger - champion)
        assert one.low < one.value < one.high


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    before = judged(600)
    after = _noisy(before, noise=0.3)
    alone = evaluate(after, 1000).balanced_accuracy
    assert alone.low is not None
    assert alone.high is not None
    found = Comparison.of(before, after, SHIPPED).require("balanced_accuracy")
    assert found.high - found.low < 0.6 * (alone.high - alone.low)


def test_the_interval_is_the_textbooks() -> None:
    # 40 of 400 lesions got better and 20 worse: McNemar's discordant pairs.
    right = np.random.default_rng(0).permutation(400) < 280
    changed = np.concatenate([np.flatnonzero(~right)[:40], np.flatnonzero(right)[:20]])
    other = right.copy()
    other[changed] = ~other[changed]
    found = Comparison.of(_binary(right), _binary(other), SHIPPED).require("balanced_accuracy")
    classes = [np.arange(400) % 2 == column for column in (0, 1)]
    steps = other.astype(float) - right
    variance = sum(steps[c].var() / c.sum() for c in classes) / 4
    assert found.value == pytest.approx(20 / 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.08)


def test_more_images_of_the_same_lesions_are_no_further_evidence() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random(200) < 0.7, rng.random(200) < 0.7

    def width(images: int) -> float:
        pair = _binary(before, images), _binary(after, images)
        found = Comparison.of(*pair, SHIPPED).require("balanced_accuracy")
        return found.high - found.low

    assert width(5) == pytest.approx(width(1), rel=0.05)


def test_models_that_decide_alike_differ_by_nothing() -> None:
    one = judged(200)
    found = Comparison.of(one, one, SHIPPED)
    for name in ("balanced_accuracy", "melanoma_sensitivity", "calibration"):
        difference = found.require(name)
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_without_melanoma_its_sensitivity_is_undefined_and_the_rest_is_not() -> None:
    before = judged(300, classes=("nv", "bkl", "bcc"))
    found = Comparison.of(before, _noisy(before), SHIPPED)
    assert found.get("melanoma_sensitivity") is None
    assert found.get("balanced_accuracy") is not None


def test_the_seed_decides() -> None:
    before = judged(200)
    after = _noisy(before)
    ends = {
        seed: Comparison.of(before, after, SHIPPED.model_copy(update={"seed": seed})).require(
            "balanced_accuracy"
        )
        for seed in (0, 1)
    }
    assert ends[0] == Comparison.of(before, after, SHIPPED).require("balanced_accuracy")
    assert ends[0].low != ends[1].low
    assert ends[0].value == ends[1].value


def test_models_that_were_judged_on_different_images_are_not_compared() -> None:
    one = judged(100)
    order = np.arange(len(one))[::-1]
    others = [
        one.select(np.arange(len(one)) > 0),
        Judged(
            tuple(one.images[i] for i in order),
            one.logits[order],
            one.probabilities[order],
            one.labels[order],
        ),
        replace(one, images=tuple(replace(i, lesion_id="the same") for i in one.images)),
    ]
    for other in others:
        with pytest.raises(InvalidPredictions, match="judged on different images"):
            Comparison.of(one, other, SHIPPED)


def test_balanced_accuracy_of_some_classes_is_their_mean_recall() -> None:
    one = judged(300)
    recall = [(one.predicted[one.labels == c] == c).mean() for c in range(7)]
    ones = np.ones((1, len(one)))
    assert balanced_accuracy(ones, one)[0] == pytest.approx(np.mean(recall))
    among = np.isin(np.arange(7), (1, 4))
    assert balanced_accuracy(ones, one, among)[0] == pytest.approx((recall[1] + recall[4]) / 2)
