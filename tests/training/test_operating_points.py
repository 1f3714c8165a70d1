"""Operating points: thresholds reach on validation what they are named for."""

from __future__ import annotations

import pytest

from models.errors import InvalidConfiguration
from tests.training.predictions import judged, perfect
from training.evaluate import sensitivity_specificity
from training.judged import InvalidPredictions, Target
from training.operating_points import SENSITIVITIES, operating_points, thresholds_for

VALIDATION, TEST = judged(500, seed=1), judged(900, seed=2)


@pytest.mark.parametrize("target", ["malignant", "mel"])
def test_the_table(target: Target) -> None:
    thresholds = thresholds_for(VALIDATION, target)
    points = operating_points(VALIDATION, TEST, thresholds, 100, target=target)
    assert [p.threshold for p in points] == sorted(thresholds.values(), reverse=True)
    scores, positive = TEST.scored(target)
    for point, aimed in zip(points, SENSITIVITIES, strict=True):
        assert point.name == f"sensitivity {aimed:.2f}"
        assert point.target == target
        assert point.validation.sensitivity is not None
        assert aimed <= point.validation.sensitivity.value < aimed + 0.03
        test = point.test
        assert test.sensitivity is not None
        assert test.specificity is not None
        assert (test.sensitivity.value, test.specificity.value) == pytest.approx(
            sensitivity_specificity(scores, positive, point.threshold)
        )
        assert test.flagged == pytest.approx((scores >= point.threshold).mean())
        assert test.specificity.low is not None
        assert test.specificity.low < test.specificity.value


def test_a_threshold_outside_0_to_1_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="between 0 and 1"):
        operating_points(VALIDATION, TEST, {"served": 1.5}, 10)


def test_nothing_malignant_to_choose_with_is_refused() -> None:
    with pytest.raises(InvalidPredictions, match="no mel image"):
        thresholds_for(perfect(("nv", "bcc")), "mel")


def test_a_test_split_without_the_target_has_no_sensitivity() -> None:
    (point,) = operating_points(VALIDATION, perfect(("nv",), 30), {"served": 0.5}, 10)
    assert point.test.sensitivity is None
    assert point.test.specificity is not None
