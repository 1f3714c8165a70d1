"""The gate on the bundled champion: honest uploads pass, wrong labels lose, each rule alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gate import (
    MEL,
    NO_NEVI,
    NV,
    SCENARIOS,
    Scenario,
    Trials,
    all_nevi,
    as_they_come,
    balanced,
    half_shifted,
    only,
    shifted,
    swapped,
)
from models.calibration import temperature_scale
from models.classes import CLASSES
from training.calibration import fit_temperature
from training.judged import InvalidPredictions, Judged
from training.promotion.gate import GateDecision, decide
from training.promotion.gate_file import GateFile
from training.promotion.labels import judge_labels

SHIPPED = GateFile.load()
QUICK = SHIPPED.model_copy(update={"resamples": 400})

POISONED = (
    Scenario("melanomas and nevi swapped", only(MEL, NV), swapped),
    Scenario("every class called the next", balanced, shifted),
    Scenario("no nevi, all called nevi", NO_NEVI, all_nevi),
    Scenario("half called the next class", balanced, half_shifted),
)


@pytest.fixture(scope="module")
def trials() -> Trials:
    return Trials()


@pytest.fixture(scope="module")
def champion(trials: Trials) -> Judged:
    return trials.champion


def _refusals(decision: GateDecision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


@pytest.mark.parametrize("count", [10, 200])
@pytest.mark.parametrize("draw", [as_they_come, balanced, only(MEL)])
def test_honest_uploads_pass(trials: Trials, count: int, draw: Callable) -> None:
    attempt = trials.attempt(Scenario("honest", draw), count, seed=1)
    decision = decide(trials.champion, attempt.challenger, attempt.uploads, count, SHIPPED)
    assert decision.passed, decision.reason
    assert decision.reason == "All 8 rules of the gate pass."
    assert all(rule.judged for rule in decision.rules)


@pytest.mark.parametrize("scenario", POISONED, ids=lambda scenario: scenario.name)
def test_two_hundred_wrong_labels_lose(trials: Trials, scenario: Scenario) -> None:
    attempt = trials.attempt(scenario, 200, seed=1)
    decision = decide(trials.champion, attempt.challenger, attempt.uploads, 200, SHIPPED)
    assert not decision.passed
    assert "labels" in _refusals(decision)


def test_a_hard_class_is_no_suspect(trials: Trials) -> None:
    """The champion contradicts a quarter of true akiec, and one nevus in thirty."""
    for column in range(len(CLASSES)):
        uploads = trials.pool.select(trials.pool.labels == column)
        result = judge_labels(trials.champion, uploads, (), SHIPPED)
        assert result.passed, result.sentence


def test_the_champion_passes_against_itself(champion: Judged) -> None:
    decision = decide(champion, champion, None, 1, QUICK)
    assert decision.passed
    by_name = {rule.name: rule for rule in decision.rules}
    for name in ("balanced_accuracy", "melanoma_sensitivity", "calibration_increase", "subgroups"):
        rule = by_name[name]
        assert (rule.value, rule.low, rule.high) == (0, 0, 0)
    assert by_name["labels"].value is None
    assert by_name["balanced_accuracy"].sentence == (
        "Balanced accuracy: 0.755 against the champion's 0.755, +0.000 (95 % interval +0.000 to "
        "+0.000); the lower end has to be above -0.010."
    )
    assert (decision.test_images, decision.test_lesions) == (2009, 1495)
    assert decision.gate_hash == SHIPPED.hash


def test_a_better_model_passes(champion: Judged) -> None:
    hint = np.eye(7, dtype=np.float32)[champion.labels]
    scores = np.log(np.maximum(champion.probabilities, 1e-12)) + hint
    probabilities = temperature_scale(scores, fit_temperature(scores, champion.labels))
    better = replace(champion, logits=champion.logits + hint, probabilities=probabilities)
    decision = decide(champion, better, None, 1, QUICK)
    assert decision.passed, decision.reason
    gain = next(rule for rule in decision.rules if rule.name == "balanced_accuracy")
    assert gain.low is not None
    assert gain.low > 0.05


def _redecided(judged: Judged, rows: np.ndarray, column: int) -> Judged:
    """Decide these images for a class; probabilities stay."""
    logits = judged.logits.copy()
    logits[rows, column] = logits.max() + 1
    return replace(judged, logits=logits)


def _right(judged: Judged, column: int) -> np.ndarray:
    return np.flatnonzero((judged.labels == column) & (judged.predicted == column))


def _sharpened(judged: Judged, power: float) -> Judged:
    """The same order, more certain."""
    powers = judged.probabilities**power
    return replace(judged, probabilities=powers / powers.sum(axis=1, keepdims=True))


def _no_images(champion: Judged) -> GateDecision:
    return decide(champion, champion, None, 0, QUICK)


def _two_vessels(champion: Judged) -> GateDecision:
    lost = _right(champion, CLASSES.index("vasc"))[:2]
    return decide(champion, _redecided(champion, lost, NV), None, 1, QUICK)


def _poor_already(champion: Judged) -> GateDecision:
    lost = _right(champion, CLASSES.index("vasc"))[:5]
    poor = _redecided(champion, lost, NV)
    return decide(poor, poor, None, 1, QUICK)


def _melanomas_that_score_low(champion: Judged) -> GateDecision:
    rows = _right(champion, MEL)[:8]
    probabilities = champion.probabilities.copy()
    probabilities[rows, NV] += probabilities[rows, MEL]
    probabilities[rows, MEL] = 0
    return decide(champion, replace(champion, probabilities=probabilities), None, 1, QUICK)


def _too_sure_already(champion: Judged) -> GateDecision:
    sure = _sharpened(champion, 2)
    return decide(sure, sure, None, 1, QUICK)


def _surer(champion: Judged) -> GateDecision:
    return decide(champion, _sharpened(champion, 1.3), None, 1, QUICK)


def _the_young(champion: Judged) -> GateDecision:
    young = np.array([image.age is not None and image.age < 30 for image in champion.images])
    lost = [row for row in _right(champion, NV) if young[row]][:40]
    return decide(
        champion, _redecided(champion, np.array(lost), CLASSES.index("bkl")), None, 1, SHIPPED
    )


def _wrong_labels(champion: Judged) -> GateDecision:
    uploads = champion.select(champion.labels == NV)
    images = tuple(replace(image, diagnosis="mel") for image in uploads.images)
    uploads = replace(uploads, images=images, labels=np.full(len(images), MEL))
    return decide(champion, champion, uploads, len(uploads), QUICK)


@pytest.mark.parametrize(
    ("rule", "case"),
    [
        ("new_images", _no_images),
        ("balanced_accuracy", _two_vessels),
        ("balanced_accuracy_floor", _poor_already),
        ("melanoma_sensitivity", _melanomas_that_score_low),
        ("calibration_error", _too_sure_already),
        ("calibration_increase", _surer),
        ("subgroups", _the_young),
        ("labels", _wrong_labels),
    ],
)
def test_each_rule_refuses_alone(
    champion: Judged, rule: str, case: Callable[[Judged], GateDecision]
) -> None:
    decision = case(champion)
    assert _refusals(decision) == {rule}
    assert not decision.passed
    refusal = next(one for one in decision.rules if one.name == rule)
    assert decision.reason == refusal.sentence


def test_every_rule_has_a_case_above(champion: Judged) -> None:
    marks = test_each_rule_refuses_alone.pytestmark[0].args[1]  # type: ignore[attr-defined]
    names = [rule.name for rule in decide(champion, champion, None, 1, QUICK).rules]
    assert [name for name, _ in marks] == names


def test_several_refusals_are_all_named(champion: Judged) -> None:
    always_mel = _redecided(champion, np.arange(len(champion)), MEL)
    decision = decide(champion, always_mel, None, 0, QUICK)
    assert decision.reason.startswith("New images: 0 that no earlier run learned from; at least 1")
    assert decision.reason.endswith(
        "Refused as well by balanced_accuracy, balanced_accuracy_floor, subgroups."
    )


def test_a_decision_is_the_same_again_and_survives_json(trials: Trials) -> None:
    attempt = trials.attempt(SCENARIOS[0], 50, seed=2)
    first, second = (
        decide(trials.champion, attempt.challenger, attempt.uploads, 50, QUICK) for _ in range(2)
    )
    assert first == second
    assert GateDecision.model_validate_json(first.model_dump_json()) == first


def test_a_test_split_that_cannot_tell_refuses(champion: Judged) -> None:
    no_melanoma = champion.select(champion.labels != MEL)
    decision = decide(no_melanoma, no_melanoma, None, 1, QUICK)
    assert _refusals(decision) == {"melanoma_sensitivity"}
    assert "the test images cannot tell" in decision.reason


def test_a_small_test_split_has_no_subgroups_to_judge(champion: Judged) -> None:
    few = champion.select(np.arange(len(champion)) % 50 == 0)
    small = SHIPPED.subgroups.model_copy(update={"minimum_images": len(few) + 1})
    strict = QUICK.model_copy(update={"subgroups": small})
    rules = {rule.name: rule for rule in decide(few, few, None, 1, strict).rules}
    assert (rules["subgroups"].passed, rules["subgroups"].judged) == (True, False)


def test_different_images_are_refused(champion: Judged) -> None:
    fewer = champion.select(np.arange(len(champion)) > 0)
    with pytest.raises(InvalidPredictions, match="different images"):
        decide(champion, fewer, None, 1, QUICK)
