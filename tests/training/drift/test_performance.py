"""Expected performance: right where confidence means what it did, in ranges that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from training.drift.performance import Answers, balanced_accuracy_of, expected_performance

MIX = np.array([0.2, 0.2, 0.3, 0.1, 0.4, 2.0, 0.1])


def _answers(
    seed: int, images: int, mix: np.ndarray = MIX, sharpness: float = 1.0
) -> tuple[Answers, np.ndarray]:
    """Answers, and labels drawn from the probabilities.

    Args:
        seed: of all.
        images: how many.
        mix: of the probabilities.
        sharpness: above 1, images are easier.
    """
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(mix / sharpness, images)
    labels = (probabilities.cumsum(axis=1) < random.random((images, 1))).sum(axis=1)
    return Answers(probabilities, probabilities.argmax(axis=1)), np.minimum(labels, 6)


def _truth(answers: Answers, labels: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float((answers.predicted == labels).mean()),
        "balanced_accuracy": balanced_accuracy_of(answers.predicted, labels),
    }


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_harder_and_easier_images_are_told_from_confidence(sharpness: float) -> None:
    """ATC is exact for no family of distributions; a few percent is what it is known for."""
    live, truth = _answers(2, 5000, sharpness=sharpness)
    found = expected_performance(*_answers(1, 5000), live, draws=20)
    assert found.accuracy.value == pytest.approx(_truth(live, truth)["accuracy"], abs=0.07)
    easier = found.accuracy.value > _truth(*_answers(1, 5000))["accuracy"]
    assert easier == (sharpness > 1) or sharpness == 1


def test_on_the_reference_itself_it_is_exact() -> None:
    reference, labels = _answers(1, 800)
    found = expected_performance(reference, labels, reference, draws=50)
    truth = _truth(reference, labels)
    assert found.accuracy.value == pytest.approx(truth["accuracy"])
    assert found.balanced_accuracy.value == pytest.approx(truth["balanced_accuracy"])


def test_the_range_holds_the_truth_about_as_often_as_it_says() -> None:
    inside = {"accuracy": 0, "balanced_accuracy": 0}
    for trial in range(100):
        reference, labels = _answers(3 * trial, 400)
        live, truth = _answers(3 * trial + 1, 150)
        found = expected_performance(reference, labels, live, draws=100, seed=trial)
        for name, value in _truth(live, truth).items():
            expected = getattr(found, name)
            assert 0 <= expected.low <= expected.value <= expected.high <= 1
            inside[name] += expected.low <= value <= expected.high
    assert all(number >= 86 for number in inside.values()), inside


def test_fewer_images_leave_a_wider_range() -> None:
    reference = _answers(1, 400)
    widths = []
    for images in (20, 200, 2000):
        accuracy = expected_performance(*reference, _answers(2, images)[0], draws=100).accuracy
        widths.append(accuracy.high - accuracy.low)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_reference_that_is_all_right_or_all_wrong(right: float) -> None:
    reference, _ = _answers(1, 50)
    labels = reference.predicted if right else (reference.predicted + 1) % 7
    found = expected_performance(reference, labels, reference, draws=20)
    assert found.accuracy.value == right
    assert 0 <= found.balanced_accuracy.value <= 1


def test_one_image() -> None:
    reference, labels = _answers(1, 50)
    accuracy = expected_performance(reference, labels, _answers(2, 1)[0]).accuracy
    assert accuracy.value in (0, 1)
    assert (accuracy.low, accuracy.high) == (0, 1)


def test_balanced_accuracy_is_the_known_one() -> None:
    answers, labels = _answers(4, 3000)
    known = balanced_accuracy_score(labels, answers.predicted)
    assert balanced_accuracy_of(answers.predicted, labels) == pytest.approx(known)
    alone = np.array([3, 3, 3])
    assert balanced_accuracy_of(np.array([3, 3, 1]), alone) == pytest.approx(2 / 3)
