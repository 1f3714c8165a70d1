"""The line is drawn so that held-out lesions pass, and pictures of something else do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.ham10000 import load_ham10000
from data.splits import SPLITS, frozen_split
from models.architecture import LesionClassifier, load_classifier
from models.novelty import NoveltyDetector
from models.package import NOVELTY_FILE, WEIGHTS_FILE, ModelPackage
from training.novelty import acceptance_threshold, learn_novelty
from training.predictions import Predictions, predict


@pytest.fixture(scope="module")
def network(champion: ModelPackage) -> LesionClassifier:
    return load_classifier(champion.file(WEIGHTS_FILE))


@pytest.fixture(scope="module")
def parts(network: LesionClassifier, synthetic_dataset: Path) -> dict[str, Predictions]:
    split = frozen_split(load_ham10000(synthetic_dataset).images)
    return {name: predict(network, getattr(split, name)) for name in SPLITS}


@pytest.mark.parametrize(
    ("acceptance", "accepted"), [(0.99, 990), (0.5, 500), (1.0, 1000), (0.0005, 1)]
)
def test_the_threshold_accepts_just_enough(acceptance: float, accepted: int) -> None:
    scores = np.random.default_rng(0).permutation(1_000).astype(np.float32)
    assert (scores <= acceptance_threshold(scores, acceptance)).sum() == accepted


def test_one_image_accepts_itself() -> None:
    assert acceptance_threshold(np.array([2.5], np.float32), 0.99) == 2.5


def test_the_result_is_what_the_detector_does(
    network: LesionClassifier, parts: dict[str, Predictions]
) -> None:
    train, validation, test = (parts[name] for name in SPLITS)
    detector, result = learn_novelty(network, train, validation, test)
    scores = {name: detector.score(part.statistics) for name, part in parts.items()}
    assert (scores["validation"] <= result.threshold).mean() >= result.acceptance == 0.99
    assert result.test_false_alarms == pytest.approx((scores["test"] > result.threshold).mean())
    shares = list(result.detected_by_kind.values())
    assert len(shares) == 6
    assert min(shares) <= result.detected <= max(shares)
    again, same = learn_novelty(network, train, validation, test)
    assert same == result
    assert np.array_equal(again.mean, detector.mean)


def test_the_champion_knows_what_is_no_lesion(champion: ModelPackage) -> None:
    claimed = champion.manifest.metrics["novelty"]
    assert claimed["detected"] >= 0.95  # type: ignore[index]
    assert claimed["test_false_alarms"] <= 0.01  # type: ignore[index]
    assert claimed["threshold"] == champion.manifest.decision.novelty_threshold  # type: ignore[index]


def test_the_champion_flags_as_many_pictures_as_its_card_claims(
    champion: ModelPackage, network: LesionClassifier
) -> None:
    import torch

    from data.non_lesions import non_lesions
    from training.predictions import describe_pixels

    _, pictures = non_lesions(60)
    said = describe_pixels(network.eval(), torch.from_numpy(pictures).permute(0, 3, 1, 2))
    scores = NoveltyDetector.load(champion.file(NOVELTY_FILE)).score(said.statistics.numpy())
    assert (scores > champion.manifest.decision.novelty_threshold).mean() >= 0.95
