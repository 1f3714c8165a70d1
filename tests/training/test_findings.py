"""Findings: the sentences say what the numbers say, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image, perfect
from training import findings
from training.evaluate import evaluate
from training.operating_points import operating_points
from training.results import Calibration, Estimate, Evaluation


def _decided(pairs: list[tuple[str, str]], **arguments: float) -> Evaluation:
    """Images of (true class, decision)."""
    images = [lesion_image(code, i) for i, (code, _) in enumerate(pairs)]
    logits = 9 * np.eye(7)[[CLASSES.index(decision) for _, decision in pairs]]
    return evaluate(judge(images, logits), 50, **arguments)


def test_an_interval_is_told_where_there_is_one() -> None:
    assert findings.with_interval(Estimate(value=0.5, low=0.25, high=0.75)) == (
        "0.500 (0.250 to 0.750)"
    )
    assert findings.with_interval(Estimate(value=1, low=None, high=None), 2) == "1.00"
    assert findings.with_interval(None) == "\N{EN DASH}"


def test_the_headline_compares_with_always_nv() -> None:
    worse = _decided([("nv", "mel")] * 6 + [("mel", "mel")] * 4)
    assert "balanced accuracy 0.500" in findings.headline(worse)
    assert "20.0 points less than always answering nv (0.600)" in findings.headline(worse)
    better = _decided([("nv", "nv")] * 5 + [("mel", "mel")] * 5)
    assert "50.0 points more than" in findings.headline(better)
    same = _decided([("nv", "nv")] * 10)
    assert "as much as always answering nv (1.000)" in findings.headline(same)


def test_the_largest_confusion_is_counted() -> None:
    evaluation = _decided(
        [("nv", "nv")] * 80 + [("nv", "bkl")] * 20 + [("df", "mel")] * 2 + [("df", "df")] * 3
    )
    assert findings.confusion_finding(evaluation).endswith("2 of 5 df images are called mel")
    assert findings.confusion_finding(evaluate(perfect(), 0)).startswith("No image")


def test_auc_and_classes() -> None:
    evaluation = evaluate(judged(500), 20)
    aucs = {code: r.auc.value for code, r in evaluation.by_class.items() if r.auc}
    best, worst = max(aucs, key=lambda c: aucs[c]), min(aucs, key=lambda c: aucs[c])
    said = findings.roc_finding(evaluation)
    assert said.startswith(f"{best} is told")
    assert f"{worst} worst ({aucs[worst]:.3f})" in said
    assert "every class" in findings.roc_finding(evaluate(perfect(), 0)).lower()
    assert findings.counts_finding(evaluation).startswith(
        f"{evaluation.accuracy_always_nv * 100:.0f} % of the"
    )


@pytest.mark.parametrize(("confidence", "word"), [(0.99, "too high"), (0.4, "too low")])
def test_confidence_is_too_high_or_too_low(confidence: float, word: str) -> None:
    # Right in seven of ten.
    images = [lesion_image("nv" if i % 10 < 7 else "mel", i) for i in range(100)]
    logits = np.zeros((100, 7))
    logits[:, CLASSES.index("nv")] = np.log(6 * confidence / (1 - confidence))
    said = findings.calibration_finding(evaluate(judge(images, logits), 0))
    assert f"{abs(confidence - 0.7) * 100:.1f} points {word}" in said


def test_malignant_sentence_needs_a_threshold() -> None:
    assert findings.malignant_finding(evaluate(judged(200), 0)) is None
    evaluation = _decided(
        [("mel", "mel")] * 9 + [("mel", "nv")] + [("nv", "nv")] * 9 + [("nv", "mel")],
        malignant_threshold=0.5,
    )
    said = findings.malignant_finding(evaluation) or ""
    assert "flags 90 of 100 mel, bcc and akiec images and 10 of 100 others" in said


def test_a_subgroup_that_stands_apart_is_named() -> None:
    images, decisions = [], []
    for i in range(400):
        face = i < 60
        images.append(lesion_image("nv", i, body_site="face" if face else "back"))
        decisions.append("mel" if face and i % 4 else "nv")
    images += [lesion_image("mel", 1000 + i, body_site="back") for i in range(30)]
    images += [lesion_image("nv", 2000 + i, body_site="ear") for i in range(3)]
    logits = 9 * np.eye(7)[[CLASSES.index(d) for d in decisions + ["mel"] * 30 + ["nv"] * 3]]
    evaluation = evaluate(judge(images, logits), 100, malignant_threshold=0.5)
    assert "specificity is 0.25 for body site face" in findings.subgroup_finding(evaluation)
    said = " ".join(findings.subgroup_sentences(evaluation))
    assert "The specificity is lower than that of all images" in said
    assert "body site face 0.25" in said
    assert "higher than that of all images" in said
    assert "Too few to tell (under 20 images): body site ear." in said


def test_no_subgroup_stands_apart_where_all_are_alike() -> None:
    evaluation = evaluate(perfect(lesions=20), 50, malignant_threshold=0.5)
    assert findings.departures(evaluation) == []
    assert findings.subgroup_sentences(evaluation) == [
        "No subgroup's interval lies apart from that of all images."
    ]
    assert "No subgroup" in findings.subgroup_finding(evaluation)


def test_calibration_steps_are_compared_first_to_last() -> None:
    def step(error: float, loss: float) -> Calibration:
        return Calibration(
            expected_calibration_error=error,
            brier_score=0.2,
            negative_log_likelihood=loss,
            reliability=(),
        )

    steps = {"before": step(0.2, 1.0), "between": step(0.5, 9.0), "after": step(0.05, 0.5)}
    said = findings.calibration_sentence(steps) or ""
    assert "lowers the calibration error from 0.200 to 0.050" in said
    assert "likelihood is lower (1.000 before, 0.500 after)" in said
    worse = findings.calibration_sentence({"a": step(0.1, 1.0), "b": step(0.2, 1.0)}) or ""
    assert "raises" in worse
    assert "no lower" in worse
    assert findings.calibration_sentence({"only": step(0.1, 1)}) is None


def test_thresholds_that_lose_sensitivity_are_told() -> None:
    validation, test = perfect(lesions=20), judged(400)
    points = operating_points(validation, test, {"served": 0.9}, 10)
    assert points[0].test.sensitivity is not None
    lost = 100 * (1 - points[0].test.sensitivity.value)
    assert f"is {lost:.1f} points" in (findings.operating_point_sentence(points) or "")
    kept = operating_points(test, validation, {"served": 0.9}, 10)
    assert (findings.operating_point_sentence(kept) or "").startswith("Every threshold keeps")
    assert findings.operating_point_sentence(()) is None


def test_history() -> None:
    history = [{"epoch": 1, "balanced_accuracy": 0.6}, {"epoch": 2, "balanced_accuracy": 0.7}]
    assert "best in the last epoch, 2: 0.700" in findings.history_finding(history)
    history.append({"epoch": 3, "balanced_accuracy": 0.65})
    assert "best in epoch 2 (0.700); the last, 3, has 0.650" in findings.history_finding(history)
    assert findings.history_finding([{"epoch": 1, "loss": 2.0}]) == "1 epoch of training"
