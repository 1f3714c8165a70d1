"""The assessment: each finding answers to its own kind of shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.synthetic import synthetic_lesion
from models.architecture import load_classifier
from models.classes import CLASSES
from models.errors import InvalidPackage
from models.package import DRIFT_FILE, WEIGHTS_FILE, ModelPackage
from tests.models.packages import write_small_package
from tests.training.drift.packages import reference_of, write_watched_package
from training.drift.assessment import Assessment, WatchedModel, assess
from training.drift.window import LiveRows
from training.predictions import describe_pixels


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write_watched_package(tmp_path_factory.mktemp("packages") / "one", "1", images=400)


@pytest.fixture(scope="module")
def model(package: ModelPackage) -> WatchedModel:
    return WatchedModel.load(package)


def _rows(images: int, seed: int = 1, shift: float = 0.0, code: str | None = None) -> LiveRows:
    drawn = reference_of(images, seed)
    logits = drawn.logits.copy()
    if code is not None:
        logits[:, CLASSES.index(code)] += 5
    return LiveRows(drawn.statistics + np.float32(shift), logits)


def test_images_like_the_reference(model: WatchedModel) -> None:
    found = assess(model, _rows(300))
    assert found.samples == 300
    assert found.embedding.p_value > 0.01
    assert found.class_mix.p_value > 0.01
    assert found.out_of_distribution == 0
    assert found.answers.sum() == 300
    assert found.prevalence == pytest.approx(model.prior, abs=0.1)
    assert found.performance is not None
    accuracy = found.performance.accuracy
    assert accuracy.low < accuracy.value < accuracy.high
    assert accuracy.value == pytest.approx(model.accuracy, abs=0.06)
    assert found.performance.balanced_accuracy.value == pytest.approx(
        model.balanced_accuracy, abs=0.06
    )


def test_other_looking_images_with_the_same_answers(model: WatchedModel) -> None:
    found = assess(model, _rows(300, shift=0.3))
    assert found.embedding.p_value == 0.001
    assert found.class_mix.p_value > 0.01


def test_the_same_looks_with_other_answers(model: WatchedModel) -> None:
    found = assess(model, _rows(300, code="mel"))
    assert found.embedding.p_value > 0.01
    assert found.class_mix.p_value == 0.0001
    assert found.prevalence.argmax() == CLASSES.index("mel")


def test_of_what_is_no_lesion_nothing_is_expected(model: WatchedModel) -> None:
    half = LiveRows(
        np.concatenate([_rows(50).statistics, _rows(50, shift=9).statistics]),
        np.concatenate([_rows(50).logits, _rows(50).logits]),
    )
    found, known = assess(model, half), assess(model, _rows(50))
    assert found.out_of_distribution == 0.5
    assert found.performance == known.performance
    nothing = assess(model, _rows(50, shift=9))
    assert (nothing.out_of_distribution, nothing.performance) == (1, None)


@pytest.mark.parametrize("images", [2, 3])
def test_hardly_any_image(model: WatchedModel, images: int) -> None:
    found = assess(model, _rows(images))
    assert 0 < found.embedding.p_value <= 1
    assert 0 < found.class_mix.p_value <= 1


def test_images_that_are_all_the_same(model: WatchedModel) -> None:
    two = _rows(2)
    same = LiveRows(two.statistics[:1].repeat(80, 0), two.logits[:1].repeat(80, 0))
    found = assess(model, same)
    assert found.embedding.p_value == 0.001
    assert found.class_mix.p_value == 0.0001


def test_a_trained_network_tells_negatives_from_lesions(tiny_package: ModelPackage) -> None:
    watched = WatchedModel.load(tiny_package)
    network = load_classifier(tiny_package.file(WEIGHTS_FILE))
    lesions = np.stack(
        [synthetic_lesion(code, seed, 224, 224) for seed in range(500, 508) for code in CLASSES]
    )

    def found(pixels: np.ndarray) -> Assessment:
        said = describe_pixels(network, torch.from_numpy(pixels).permute(0, 3, 1, 2))
        return assess(watched, LiveRows(said.statistics.numpy(), said.logits.numpy()))

    lesion, negative = found(lesions).embedding, found(255 - lesions).embedding
    assert negative.p_value < 0.01
    assert negative.mmd > lesion.mmd


def test_a_package_without_a_reference(tmp_path: Path) -> None:
    package = ModelPackage.load(write_small_package(tmp_path / "old", "1"))
    assert DRIFT_FILE not in package
    with pytest.raises(InvalidPackage, match="has no"):
        WatchedModel.load(package)
