"""Evaluation: against scikit-learn and against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from data.ham10000 import Ham10000
from models.classes import CLASSES
from models.errors import InvalidConfiguration
from tests.training.predictions import judge, judged, lesion_image, perfect
from training.bootstrap import wilson_interval
from training.evaluate import (
    MAX_ROC_POINTS,
    calibration_of,
    evaluate,
    quick_metrics,
    sensitivity_specificity,
)
from training.judged import Judged
from training.results import Estimate, Evaluation

NV = CLASSES.index("nv")


Predictions = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Decisions, probabilities and labels."""


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """A fair classifier on 400 unbalanced images, which decides against some likeliest class."""
    rng = np.random.default_rng(0)
    frequencies = np.array([0.05, 0.08, 0.12, 0.04, 0.13, 0.53, 0.05])
    labels = rng.choice(len(CLASSES), 400, p=frequencies)
    logits = rng.normal(0, 1, (400, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    exponents = frequencies * np.exp(logits)
    probabilities = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return logits.argmax(axis=1), probabilities, labels


def test_the_measures_are_scikit_learns(predictions: Predictions) -> None:
    predicted, probabilities, labels = predictions
    assert (predicted != probabilities.argmax(axis=1)).any()
    result: Any = quick_metrics(predicted, probabilities, labels)

    assert result["images"] == 400
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert result["balanced_accuracy"] == pytest.approx(
        metrics.recall_score(labels, predicted, average="macro")
    )
    assert result["macro_auc"] == pytest.approx(
        metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )
    assert result["accuracy_always_nv"] == pytest.approx((labels == NV).mean())
    report = metrics.classification_report(
        labels, predicted, target_names=CLASSES, output_dict=True
    )
    for code in CLASSES:
        entry = result["by_class"][code]
        assert entry["images"] == report[code]["support"]
        assert entry["recall"] == pytest.approx(report[code]["recall"])
        assert entry["precision"] == pytest.approx(report[code]["precision"])


def test_the_measures_by_hand() -> None:
    # One image of each class; all are called nv with 0.4, the other classes share 0.6.
    probabilities = np.full((7, 7), 0.1, np.float32)
    probabilities[:, NV] = 0.4
    result: Any = quick_metrics(np.full(7, NV), probabilities, np.arange(7))
    assert result["accuracy"] == pytest.approx(1 / 7)
    assert result["balanced_accuracy"] == pytest.approx(1 / 7)
    assert result["macro_auc"] == pytest.approx(0.5)
    assert result["expected_calibration_error"] == pytest.approx(0.4 - 1 / 7)
    others = (1 - 0.1) ** 2 + 0.4**2 + 5 * 0.1**2
    nevus = (1 - 0.4) ** 2 + 6 * 0.1**2
    assert result["brier_score"] == pytest.approx((6 * others + nevus) / 7)
    assert result["by_class"]["nv"] == pytest.approx(
        {"images": 1, "recall": 1, "precision": 1 / 7, "auc": 0.5}
    )
    # Never predicted: no precision to speak of, which counts as none.
    assert result["by_class"]["mel"] == pytest.approx(
        {"images": 1, "recall": 0, "precision": 0, "auc": 0.5}
    )


def test_calibration_is_that_of_the_decision_and_not_of_the_likeliest_class() -> None:
    # nv is likelier with 0.4, but mel is decided, with 0.1 and right once in seven.
    probabilities = np.full((7, 7), 0.1, np.float32)
    probabilities[:, NV] = 0.4
    result: Any = quick_metrics(np.full(7, CLASSES.index("mel")), probabilities, np.arange(7))
    assert result["expected_calibration_error"] == pytest.approx(1 / 7 - 0.1)


def test_perfection() -> None:
    labels = np.tile(np.arange(7), 3)
    result: Any = quick_metrics(labels, np.eye(7, dtype=np.float32)[labels], labels)
    shares = ("accuracy", "balanced_accuracy", "macro_auc")
    assert [result[name] for name in shares] == [1, 1, 1]
    assert result["brier_score"] == result["expected_calibration_error"] == 0


def test_a_score_on_the_threshold_is_flagged() -> None:
    scores = np.array([0.2, 0.5, 0.9, 0.1, 0.5, 0.7], np.float32)
    positive = np.array([True, True, True, False, False, False])
    assert sensitivity_specificity(scores, positive, 0.5) == pytest.approx((2 / 3, 1 / 3))
    assert sensitivity_specificity(scores, positive, 0.0) == (1, 0)
    assert sensitivity_specificity(scores, positive, 1.0) == (0, 1)


ESTIMATES = (
    "balanced_accuracy",
    "accuracy",
    "macro_auc",
    "malignant_auc",
    "brier_score",
    "negative_log_likelihood",
    "expected_calibration_error",
)
CLASS_ESTIMATES = ("auc", "precision", "recall", "specificity", "f1", "calibration_error")


@pytest.fixture(scope="module")
def split() -> Judged:
    return judged(800)


@pytest.fixture(scope="module")
def evaluation(split: Judged) -> Evaluation:
    return evaluate(split, 200, seed=1, malignant_threshold=0.3)


def test_the_full_evaluation_agrees_with_the_quick_one(
    split: Judged, evaluation: Evaluation
) -> None:
    quick: Any = quick_metrics(split.predicted, split.probabilities, split.labels)
    assert evaluation.images == quick["images"] == len(split)
    assert evaluation.accuracy_always_nv == quick["accuracy_always_nv"]
    for name in (
        "balanced_accuracy",
        "accuracy",
        "macro_auc",
        "brier_score",
        "expected_calibration_error",
    ):
        assert getattr(evaluation, name).value == pytest.approx(quick[name]), name
    for code, entry in quick["by_class"].items():
        result = evaluation.by_class[code]
        assert result.images == entry["images"] > result.lesions > 0
        for name in ("recall", "precision", "auc"):
            assert getattr(result, name).value == pytest.approx(entry[name]), name


def test_every_interval_holds_its_value(evaluation: Evaluation) -> None:
    estimates = [getattr(evaluation, name) for name in ESTIMATES]
    for result in evaluation.by_class.values():
        estimates += [getattr(result, name) for name in CLASS_ESTIMATES]
    assert evaluation.malignant is not None
    estimates += [evaluation.malignant.sensitivity, evaluation.malignant.specificity]
    for estimate in estimates:
        assert estimate.low < estimate.value < estimate.high
        assert estimate.low >= 0


def test_intervals_are_about_as_wide_as_repeating_the_study_shows() -> None:
    once = evaluate(judged(300, seed=100), 300).balanced_accuracy
    repeated = []
    for seed in range(40):
        again = judged(300, seed=seed)
        repeated.append(
            quick_metrics(again.predicted, again.probabilities, again.labels)["balanced_accuracy"]
        )
    assert once.low is not None
    assert once.high is not None
    assert (once.high - once.low) == pytest.approx(4 * np.std(repeated), rel=0.5)


def test_the_confusion_matrix_counts_images_and_its_rows_sum_to_one(
    split: Judged, evaluation: Evaluation
) -> None:
    counts = np.array(evaluation.confusion.counts)
    assert np.array_equal(counts, metrics.confusion_matrix(split.labels, split.predicted))
    for row, shares in zip(counts, evaluation.confusion.shares, strict=True):
        assert shares == pytest.approx(row / row.sum())


def test_roc_curves_are_thin_and_whole(evaluation: Evaluation) -> None:
    assert evaluation.roc.keys() == {*CLASSES, "malignant"}
    for name, curve in evaluation.roc.items():
        x, y = curve.false_positive_rate, curve.true_positive_rate
        assert len(x) == len(y) <= MAX_ROC_POINTS
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        whole = evaluation.malignant_auc if name == "malignant" else evaluation.by_class[name].auc
        assert whole is not None
        assert metrics.auc(x, y) == pytest.approx(whole.value, abs=0.01)


def test_reliability_bins_give_the_calibration_error(split: Judged, evaluation: Evaluation) -> None:
    bins = evaluation.reliability
    assert sum(b.images for b in bins) == len(split)
    gaps = [abs(b.images * b.confidence - b.correct) for b in bins if b.confidence is not None]
    assert sum(gaps) / len(split) == pytest.approx(evaluation.expected_calibration_error.value)
    steps = calibration_of(split.probabilities, split.predicted, split.labels)
    assert steps.reliability == bins
    assert steps.brier_score == pytest.approx(evaluation.brier_score.value)


def test_the_seed_decides(split: Judged, evaluation: Evaluation) -> None:
    assert evaluate(split, 200, seed=1, malignant_threshold=0.3) == evaluation
    other = evaluate(split, 200, seed=2, malignant_threshold=0.3)
    assert other.accuracy.value == evaluation.accuracy.value
    assert other.accuracy.low != evaluation.accuracy.low


def test_json_holds_everything(evaluation: Evaluation) -> None:
    text = evaluation.model_dump_json()
    assert "NaN" not in text
    assert Evaluation.model_validate_json(text) == evaluation


def test_a_class_without_images_has_no_results_and_leaves_the_others_theirs() -> None:
    split = judged(400, classes=("bcc", "bkl", "mel", "nv"))
    result = evaluate(split, 50, malignant_threshold=0.3)
    for code in ("akiec", "df", "vasc"):
        entry = result.by_class[code]
        assert entry.images == entry.lesions == 0
        assert all(getattr(entry, name) is None for name in CLASS_ESTIMATES)
        assert code not in result.roc
        assert result.confusion.shares[CLASSES.index(code)] is None
    recalls = [e.recall.value for e in result.by_class.values() if e.recall]
    assert result.balanced_accuracy.value == pytest.approx(np.mean(recalls))
    assert len(recalls) == 4
    assert "NaN" not in result.model_dump_json()


@pytest.mark.parametrize("codes", [("nv",), ("mel",)])
def test_one_class_alone_has_no_auc(codes: tuple[str, ...]) -> None:
    result = evaluate(perfect(codes, 30), 50, malignant_threshold=0.3)
    assert result.macro_auc is result.malignant_auc is None
    assert result.roc == {}
    assert result.malignant is not None
    assert (result.malignant.sensitivity is None) == (codes == ("nv",))
    assert (result.malignant.specificity is None) == (codes == ("mel",))


def test_a_single_image() -> None:
    result = evaluate(judge([lesion_image("mel")], np.eye(7)[:1]), 10, malignant_threshold=0.3)
    assert result.images == result.lesions == 1
    assert result.accuracy == Estimate(value=0, low=None, high=None)
    assert all(group.too_few for group in result.subgroups)


def test_perfection_is_not_certainty() -> None:
    result = evaluate(perfect(lesions=12), 100, malignant_threshold=0.5)
    recall = result.by_class["df"].recall
    assert recall is not None
    assert (recall.value, recall.low) == (1, pytest.approx(wilson_interval(12, 12)[0]))
    assert result.malignant is not None
    assert result.malignant.sensitivity is not None
    assert result.malignant.sensitivity.low == pytest.approx(wilson_interval(36, 36)[0])
    # What no resample moves has no interval, rather than one without a width.
    assert result.balanced_accuracy == Estimate(value=1, low=None, high=None)


def test_without_resamples_or_threshold_there_are_fewer_numbers(split: Judged) -> None:
    result = evaluate(split, 0)
    assert result.accuracy.low is None
    assert result.malignant is result.malignant_threshold is None
    assert all(g.sensitivity is None for g in result.subgroups)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(split: Judged, threshold: float) -> None:
    with pytest.raises(InvalidConfiguration, match="between 0 and 1"):
        evaluate(split, 10, malignant_threshold=threshold)


def test_all_of_ham10000_has_a_place_in_the_subgroups(real_ham10000: Ham10000) -> None:
    images = list(real_ham10000.images)
    labels = [CLASSES.index(image.diagnosis) for image in images]
    result = evaluate(judge(images, 3 * np.eye(7)[labels]), 0, malignant_threshold=0.5)
    for kind in ("sex", "age", "body site"):
        groups = [group for group in result.subgroups if group.kind == kind]
        assert sum(group.images for group in groups) == len(images)
        assert len(groups) > 2
