"""Fitting a head: the one minimum, the same from any number of workers, near where it began."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score

from models.architecture import load_classifier
from models.classes import CLASSES
from models.features import FEATURES, load_replay
from models.head import Head
from models.package import REPLAY_FILE, WEIGHTS_FILE, ModelPackage
from tests.training.distributed import run_group
from training.group import Group
from training.head import BLOCKS, Examples, fit_head
from training.loop import TrainingDiverged
from training.progress import Step
from training.settings import HeadSettings

SETTINGS = HeadSettings(anchor=0.1)
NO_SHIFT = np.zeros(len(CLASSES))


def _examples(count: int = 70, seed: int = 0) -> tuple[Head, Examples]:
    """A random head, and features with something to learn in them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), count)
    features = rng.gamma(1.0, 0.4, (count, FEATURES)).astype(np.float32)
    features[np.arange(count), labels] += 3
    start = Head(
        rng.normal(0, 0.02, (len(CLASSES), FEATURES)).astype(np.float32),
        rng.normal(0, 0.1, len(CLASSES)).astype(np.float32),
    )
    return start, Examples(features, labels, rng.uniform(0.5, 3, count))


def _loss(head: Head, start: Head, examples: Examples, shift: np.ndarray, anchor: float) -> float:
    """The loss as it is described, in one line each."""
    likelihoods = log_softmax(head.logits(examples.features).astype(float) + shift, axis=1)
    own = likelihoods[np.arange(len(examples.labels)), examples.labels]
    distance = np.square(head.weight - start.weight).sum() + np.square(head.bias - start.bias).sum()
    return float(-np.average(own, weights=examples.weights) + anchor * distance)


def test_it_ends_where_no_step_leads_lower() -> None:
    start, examples = _examples()
    shift = np.log(examples.frequencies())
    head = fit_head(start, examples, shift, SETTINGS)
    found = _loss(head, start, examples, shift, SETTINGS.anchor)
    assert found < _loss(start, start, examples, shift, SETTINGS.anchor)
    rng = np.random.default_rng(1)
    for scale in (1e-3, 1e-2, 0.1):
        for _ in range(20):
            weight = head.weight + rng.normal(0, scale, head.weight.shape).astype(np.float32)
            other = Head(weight, head.bias)
            assert _loss(other, start, examples, shift, SETTINGS.anchor) > found


def test_it_begins_anywhere_and_ends_at_the_same_loss_without_looking_at_the_order() -> None:
    start, examples = _examples()
    order = np.random.default_rng(2).permutation(len(examples.labels))
    shuffled = Examples(examples.features[order], examples.labels[order], examples.weights[order])
    one = fit_head(start, examples, NO_SHIFT, SETTINGS)
    other = fit_head(start, shuffled, NO_SHIFT, SETTINGS)
    np.testing.assert_allclose(one.weight, other.weight, atol=1e-3)


def test_a_weight_is_as_many_images() -> None:
    start, examples = _examples(40)
    once = dataclasses.replace(examples, weights=np.ones(40))
    twice = Examples(
        np.concatenate([once.features, once.features[:5]]),
        np.concatenate([once.labels, once.labels[:5]]),
        np.ones(45),
    )
    weighed = dataclasses.replace(once, weights=np.where(np.arange(40) < 5, 2.0, 1.0))
    one, other = (fit_head(start, each, NO_SHIFT, SETTINGS) for each in (twice, weighed))
    np.testing.assert_allclose(one.weight, other.weight, atol=1e-3)
    np.testing.assert_allclose(twice.frequencies(), weighed.frequencies())


def test_a_strong_anchor_keeps_the_head_and_a_weak_one_lets_it_go() -> None:
    start, examples = _examples()
    moved = [
        float(np.abs(fit_head(start, examples, NO_SHIFT, settings).weight - start.weight).max())
        for settings in (HeadSettings(anchor=a) for a in (1e6, 1.0, 1e-3))
    ]
    assert moved[0] < 1e-4
    assert moved[0] < moved[1] < moved[2]


def test_iterations_are_told_in_order_and_are_not_more_than_allowed() -> None:
    start, examples = _examples()
    steps: list[Step] = []
    settings = HeadSettings(iterations=3, anchor=1e-3)
    fit_head(start, examples, NO_SHIFT, settings, on_iteration=steps.append)
    assert [(step.step, step.steps) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    losses = [step.loss for step in steps]
    assert losses == sorted(losses, reverse=True)
    first = _loss(start, start, examples, NO_SHIFT, 1e-3)
    assert losses[0] < first


def test_what_a_listener_raises_ends_the_fit() -> None:
    start, examples = _examples()

    def stop(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_head(start, examples, NO_SHIFT, SETTINGS, on_iteration=stop)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_not_finite_is_told(value: float) -> None:
    start, examples = _examples()
    examples.features[3, 5] = value
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(TrainingDiverged, match="not finite"),
    ):
        fit_head(start, examples, NO_SHIFT, SETTINGS)


def test_an_absent_class_counts_as_one_image() -> None:
    labels = np.array([0, 0, 1, 2, 3, 4, 5])
    examples = Examples(np.zeros((7, FEATURES), np.float32), labels, np.ones(7))
    assert examples.frequencies() == pytest.approx([2 / 7] + 6 * [1 / 7])


def _fit_in_a_group(group: Group, folder: Path) -> None:
    start, examples = _examples(count=BLOCKS + 3)
    head = fit_head(start, examples, NO_SHIFT, SETTINGS, group=group)
    save_file(
        {"weight": head.weight, "bias": head.bias},
        folder / f"{group.size}-{group.rank}.safetensors",
    )


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_workers_comes_to_the_same_head(tmp_path: Path, size: int) -> None:
    run_group(size, tmp_path, _fit_in_a_group)
    _fit_in_a_group(Group(), tmp_path)
    alone = load_file(tmp_path / "1-0.safetensors")
    for rank in range(size):
        one_of_many = load_file(tmp_path / f"{size}-{rank}.safetensors")
        np.testing.assert_array_equal(one_of_many["weight"], alone["weight"])
        np.testing.assert_array_equal(one_of_many["bias"], alone["bias"])


def test_fewer_images_than_blocks_are_enough() -> None:
    start, examples = _examples(count=3)
    head = fit_head(start, examples, NO_SHIFT, SETTINGS)
    assert np.isfinite(head.weight).all()
    assert _loss(head, start, examples, NO_SHIFT, 0.1) < _loss(
        start, start, examples, NO_SHIFT, 0.1
    )


def test_the_champion_s_head_stays_as_good_on_what_it_has_learned(champion: ModelPackage) -> None:
    replay = load_replay(champion.file(REPLAY_FILE))
    train, test = replay["train"], replay["test"]
    start = Head.of(load_classifier(champion.file(WEIGHTS_FILE)))
    examples = Examples(train.features, train.labels, np.ones(len(train)))
    shift = np.array(champion.manifest.decision.logit_shift)
    np.testing.assert_allclose(np.log(examples.frequencies()), shift, atol=1e-5)
    head = fit_head(start, examples, shift, HeadSettings())
    before, after = (
        balanced_accuracy_score(test.labels, each.logits(test.features).argmax(axis=1))
        for each in (start, head)
    )
    assert after > before - 0.01
