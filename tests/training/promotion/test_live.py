"""Live checks: proof is needed to refuse, too few images prove nothing, and both are said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from training.bootstrap import wilson_interval
from training.promotion.gate_file import GateFile
from training.promotion.live import ShadowStats, judge_observation, judge_shadow
from training.promotion.rule_result import RuleResult

SHIPPED = GateFile.load()
NONE = ShadowStats(
    live_images=0,
    live_errors=0,
    shadow_images=0,
    disagreements=0,
    live_forward_s=0,
    shadow_forward_s=0,
)


def _stats(**counts: Any) -> ShadowStats:
    """A thousand live images, a quarter of them shadowed, at 5 ms each, without any trouble."""
    usual = {
        "live_images": 1000,
        "live_errors": 0,
        "shadow_images": 250,
        "disagreements": 0,
        "live_forward_s": 5.0,
        "shadow_forward_s": 1.25,
    }
    return ShadowStats.model_validate({**usual, **counts})


def _by_name(results: tuple[RuleResult, ...]) -> dict[str, RuleResult]:
    return {result.name: result for result in results}


def test_a_quiet_shadow_passes() -> None:
    results = _by_name(judge_shadow(_stats(disagreements=10), SHIPPED))
    assert results.keys() == {"shadow_disagreement", "shadow_latency"}
    assert all(result.passed and result.judged for result in results.values())
    one = results["shadow_disagreement"]
    assert (one.value, one.low, one.high) == (0.04, *(wilson_interval(10, 250) or ()))
    assert one.sentence.startswith(
        "Disagreement: 10 of 250 live images got another class from the other model, 4.00% (95 %"
    )
    assert results["shadow_latency"].value == pytest.approx(1)


def test_disagreement_refuses_when_all_of_its_interval_is_above_the_bound() -> None:
    # 0.2 is allowed. 60 of 250 are 24 % and may be chance, 65 are not.
    for disagreements, passed in ((50, True), (60, True), (65, False), (250, False)):
        stats = _stats(disagreements=disagreements)
        assert _by_name(judge_shadow(stats, SHIPPED))["shadow_disagreement"].passed is passed
        watched = _by_name(judge_observation(stats, SHIPPED))["observation_disagreement"]
        assert watched.passed is passed


def test_a_slow_challenger_refuses() -> None:
    for seconds, passed in ((2.49, True), (2.51, False)):
        result = _by_name(judge_shadow(_stats(shadow_forward_s=seconds), SHIPPED))["shadow_latency"]
        assert result.passed is passed
        assert result.value == pytest.approx(seconds / 1.25)
    assert "10.0 ms per image against the live model's 5.0 ms, a ratio of 2.01" in result.sentence


def test_images_that_failed_took_no_time_in_the_network() -> None:
    half = _stats(live_errors=500, live_forward_s=2.5)
    assert _by_name(judge_shadow(half, SHIPPED))["shadow_latency"].value == pytest.approx(1)


def test_errors_turn_a_promotion_back() -> None:
    for errors, passed in ((0, True), (20, True), (28, True), (29, False), (1000, False)):
        result = _by_name(judge_observation(_stats(live_errors=errors), SHIPPED))
        assert result["observation_errors"].passed is passed
    only_errors = _stats(live_images=60, live_errors=60, shadow_images=0, live_forward_s=0)
    results = _by_name(judge_observation(only_errors, SHIPPED))
    assert not results["observation_errors"].passed
    assert results["observation_disagreement"].value is None


@pytest.mark.parametrize("stats", [NONE, _stats(shadow_images=49, live_images=49)])
def test_too_few_images_are_said_and_pass(stats: ShadowStats) -> None:
    for result in (*judge_shadow(stats, SHIPPED), *judge_observation(stats, SHIPPED)):
        assert (result.passed, result.judged, result.value) == (True, False, None)
        assert "not judged, because only" in result.sentence
        assert "of at least 50 live images" in result.sentence


def test_too_few_images_refuse_where_the_file_requires_them() -> None:
    rule = SHIPPED.shadow.model_copy(update={"required": True})
    strict = SHIPPED.model_copy(update={"shadow": rule})
    assert not any(result.passed for result in judge_shadow(NONE, strict))
    assert all(result.passed for result in judge_shadow(_stats(), strict))
    assert all(result.passed for result in judge_observation(NONE, strict))


def test_a_live_model_that_took_no_time_is_not_compared() -> None:
    result = _by_name(judge_shadow(_stats(live_forward_s=0), SHIPPED))["shadow_latency"]
    assert (result.passed, result.value) == (True, None)
    assert result.sentence.startswith("Latency: not judged, because no seconds were counted")


@pytest.mark.parametrize(
    "counts",
    [
        {"live_images": -1},
        {"live_errors": 1001},
        {"disagreements": 251},
        {"shadow_images": 1.5},
        {"live_forward_s": -0.1},
        {"shadow_forward_s": float("nan")},
        {"live_forward_s": float("inf")},
        {"dropped": 1},
    ],
)
def test_counts_that_cannot_be_are_refused(counts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _stats(**counts)
