"""What a prediction says in words, and that it follows from its numbers."""

from __future__ import annotations

from dashboard.prediction_sentences import (
    abstain_sentence,
    alarm_sentence,
    class_sentence,
    score_sentence,
    set_sentence,
    timing_rows,
)
from dashboard.probability_bars import probability_bars
from models.classes import CLASSES
from tests.dashboard.answers import prediction


def test_the_class_is_the_most_probable_one() -> None:
    said = class_sentence(prediction("mel"))
    assert said == "The model holds this class for 88.0\u00a0% probable, more than any other."


def test_another_class_is_more_probable() -> None:
    probabilities = dict.fromkeys(CLASSES, 0.0) | {"mel": 0.4, "nv": 0.6}
    said = class_sentence(prediction("mel", probabilities=probabilities))
    assert "Melanocytic nevus is so common that it is still more probable" in said
    assert said.endswith("60.0\u00a0% against 40.0\u00a0%.")


def test_what_cannot_be_ruled_out() -> None:
    assert set_sentence(prediction()) == (
        "Only Melanocytic nevus is left; the other six can be ruled out."
    )
    two = set_sentence(prediction(prediction_set=["nv", "mel"]))
    assert two == "2 classes cannot be ruled out: Melanocytic nevus and Melanoma."


def test_a_score_and_its_operating_point() -> None:
    answer = prediction("mel")
    above = score_sentence("Malignant score", answer.malignant_score, answer.operating_point)
    assert "92.0\u00a0%, at or above the operating point of 7.0\u00a0%" in above
    assert "calls for a closer look" in above
    assert "found 95.1\u00a0%" in above
    below = score_sentence("Malignant score", 0.01, prediction().operating_point)
    assert "below the operating point" in below
    assert "raises no alarm" in below


def test_abstention_in_plain_words() -> None:
    assert abstain_sentence(prediction()) is None
    strange = prediction(abstain={"abstain": True, "reason": "out_of_distribution"})
    assert "novelty 1.20, limit 2.50" in (abstain_sentence(strange) or "")
    unsure = prediction(
        abstain={"abstain": True, "reason": "too_uncertain"},
        prediction_set=["nv", "mel", "bkl", "bcc"],
    )
    assert "4 classes cannot be ruled out" in (abstain_sentence(unsure) or "")
    other = prediction(abstain={"abstain": True, "reason": "something_new"})
    assert "something_new" in (abstain_sentence(other) or "")


def test_a_harmless_class_with_a_raised_score() -> None:
    """Whoever reads only `low risk` would miss what the scores say."""
    assert alarm_sentence(prediction("nv")) is None
    assert alarm_sentence(prediction("mel")) is None, "the class says it already"
    point = prediction("mel").operating_point
    one = alarm_sentence(prediction("nv", operating_point=point, malignant_score=0.3)) or ""
    assert one.startswith("Look closer all the same: the malignant score (30.0\u00a0%) lies above")
    both = prediction("nv", operating_point=point, melanoma_operating_point=point)
    assert "the malignant score (6.0\u00a0%) and the probability of melanoma (2.0\u00a0%) lie" in (
        alarm_sentence(both) or ""
    )


def test_times() -> None:
    assert timing_rows(prediction())[-1] == ("In all, inside the server", "27\u00a0ms")


def test_bars_are_sorted_and_told_apart_without_colour() -> None:
    probabilities = dict.fromkeys(CLASSES, 0.0) | {"mel": 0.7, "nv": 0.3}
    html = probability_bars(probabilities, "mel", ["mel"])
    assert html.index("Melanoma") < html.index("Melanocytic nevus") < html.index("Vascular")
    assert "Predicted, ● High risk" in html
    assert html.count("ruled out</span>") == 6
    assert html.count('class="bar kept"') == 1
    assert "70.0\u00a0%" in html


def test_a_code_that_nobody_knows_runs_nothing() -> None:
    html = probability_bars({"<script>": 1.0}, "nv", [])
    assert "<script>" not in html


def test_bars_without_a_prediction_set_claim_nothing() -> None:
    html = probability_bars(dict.fromkeys(CLASSES, 1 / 7))
    assert "ruled out" not in html
    assert "Predicted" not in html
    assert html.count('class="bar kept"') == 7
