"""The decision: what is answered for logits follows the model's own rules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.calibration import temperature_scale
from models.classes import CLASSES
from models.decision import Decision, calibrated_probabilities
from models.decision import decide as decide_all
from models.package import DecisionRules, OperatingPoint

LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.just(len(CLASSES))),
    elements=st.floats(-60, 60, width=32),
)


POINT = OperatingPoint(
    threshold=0.2, validation_sensitivity=0.95, test_sensitivity=0.9, test_specificity=0.8
)


def _rules(
    temperature: float = 1.0,
    threshold: float = 0.1,
    max_prediction_set: int = 3,
    logit_shift: tuple[float, ...] = (0.0,) * len(CLASSES),
) -> DecisionRules:
    return DecisionRules(
        logit_shift=logit_shift,
        temperature=temperature,
        melanoma=POINT,
        malignant=POINT,
        prediction_set_threshold=threshold,
        prediction_set_coverage=0.9,
        max_prediction_set=max_prediction_set,
        novelty_threshold=2.0,
    )


def decide(
    logits: npt.NDArray[np.float32], rules: DecisionRules, novelty: float = 1.0
) -> list[Decision]:
    """As the classifier does, for images of the same novelty."""
    return decide_all(logits, np.full(len(logits), novelty, np.float32), rules)


RULES = st.builds(
    _rules,
    temperature=st.floats(0.05, 20),
    threshold=st.floats(0, 1),
    max_prediction_set=st.integers(1, 7),
    logit_shift=st.tuples(*[st.floats(-10, 10)] * len(CLASSES)),
)


def _logits(**probabilities: float) -> npt.NDArray[np.float32]:
    """One row with these probabilities; the rest is shared by the other classes."""
    rest = (1 - sum(probabilities.values())) / (len(CLASSES) - len(probabilities))
    return np.log([[probabilities.get(code, rest) for code in CLASSES]]).astype(np.float32)


@given(LOGITS, RULES)
def test_every_answer_agrees_with_its_logits(
    logits: npt.NDArray[np.float32], rules: DecisionRules
) -> None:
    decisions = decide(logits, rules)
    assert len(decisions) == len(logits)
    for row, decision in zip(logits, decisions, strict=True):
        # As the image alone says it, before class frequencies come in.
        assert row[CLASSES.index(decision.predicted_class)] == row.max()
        assert sum(decision.probabilities) == pytest.approx(1, abs=1e-5)
        by_class = dict(zip(CLASSES, decision.probabilities, strict=True))
        malignant = by_class["mel"] + by_class["bcc"] + by_class["akiec"]
        assert decision.malignant_score == pytest.approx(malignant, abs=1e-6)
        assert 0 <= decision.malignant_score <= 1


@given(LOGITS, RULES)
def test_the_prediction_set_holds_the_prediction_and_all_above_the_threshold(
    logits: npt.NDArray[np.float32], rules: DecisionRules
) -> None:
    for decision in decide(logits, rules):
        by_class = dict(zip(CLASSES, decision.probabilities, strict=True))
        members = decision.prediction_set
        above = {code for code, p in by_class.items() if p >= rules.prediction_set_threshold}
        assert set(members) == above | {decision.predicted_class}
        assert len(members) == len(set(members))
        likelihoods = [by_class[code] for code in members]
        assert likelihoods == sorted(likelihoods, reverse=True)


@given(LOGITS, RULES)
def test_the_model_abstains_where_the_set_is_too_large(
    logits: npt.NDArray[np.float32], rules: DecisionRules
) -> None:
    for decision in decide(logits, rules):
        too_large = len(decision.prediction_set) > rules.max_prediction_set
        assert decision.abstain_reason == ("too_uncertain" if too_large else None)


def test_the_probabilities_are_shifted_and_then_scaled() -> None:
    logits = _logits(mel=0.7)
    shift = (0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -2.0)
    expected = temperature_scale(logits + np.array(shift, np.float32), 2.0)
    rules = _rules(temperature=2.0, logit_shift=shift)
    assert np.array_equal(calibrated_probabilities(logits, rules), expected)
    assert decide(logits, rules)[0].probabilities == tuple(expected[0].tolist())


def test_a_common_class_may_be_likelier_than_the_one_the_image_speaks_for() -> None:
    common = tuple(3.0 if code == "nv" else 0.0 for code in CLASSES)
    decision = decide(_logits(mel=0.5, nv=0.4), _rules(logit_shift=common, threshold=0.2))[0]
    assert decision.predicted_class == "mel"
    assert decision.probabilities[CLASSES.index("nv")] == max(decision.probabilities)
    # The prediction belongs to its set although its probability is below the threshold.
    assert decision.probabilities[CLASSES.index("mel")] < 0.2
    assert decision.prediction_set == ("nv", "mel")


def test_an_example_by_hand() -> None:
    decision = decide(_logits(mel=0.5, nv=0.3, bcc=0.12), _rules())[0]
    assert decision.predicted_class == "mel"
    assert decision.prediction_set == ("mel", "nv", "bcc")
    assert decision.abstain_reason is None
    # akiec has its share of what the three leave: (1 - 0.92) / 4.
    assert decision.malignant_score == pytest.approx(0.5 + 0.12 + 0.02, abs=1e-6)


def test_a_class_at_the_threshold_belongs() -> None:
    even = np.zeros((1, len(CLASSES)), np.float32)
    share = decide(even, _rules())[0].probabilities[0]
    decision = decide(even, _rules(threshold=share, max_prediction_set=6))[0]
    assert set(decision.prediction_set) == set(CLASSES)
    assert decision.abstain_reason == "too_uncertain"
    alone = decide(even, _rules(threshold=share + 1e-6))[0]
    assert alone.prediction_set == (alone.predicted_class,)


def test_answers_come_in_the_order_of_the_images() -> None:
    logits = np.eye(len(CLASSES), dtype=np.float32) * 9
    assert tuple(decision.predicted_class for decision in decide(logits, _rules())) == CLASSES


def test_the_values_are_plain_so_that_they_serialise() -> None:
    decision = decide(_logits(mel=0.5), _rules())[0]
    assert {type(value) for value in decision.probabilities} == {float}
    assert type(decision.malignant_score) is float


def test_no_images_give_no_answers() -> None:
    assert decide(np.empty((0, len(CLASSES)), np.float32), _rules()) == []


@pytest.mark.parametrize("novelty", [2.01, 1e6, np.inf])
def test_a_picture_unlike_all_is_flagged_before_anything_else(novelty: float) -> None:
    even = np.zeros((1, len(CLASSES)), np.float32)
    rules = _rules(threshold=0.01)
    assert decide(even, rules)[0].abstain_reason == "too_uncertain"
    decision = decide(even, rules, novelty)[0]
    assert decision.abstain_reason == "out_of_distribution"
    assert decision.novelty == pytest.approx(novelty)


def test_novelty_up_to_the_threshold_is_accepted_image_by_image() -> None:
    logits = np.repeat(_logits(nv=0.95), 3, axis=0)
    scores = np.array([2.0, 2.5, 0.1], np.float32)
    reasons = [each.abstain_reason for each in decide_all(logits, scores, _rules())]
    assert reasons == [None, "out_of_distribution", None]
