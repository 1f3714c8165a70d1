"""Predictions are the network's own words on each readable image, in order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.ham10000 import LesionImage, load_ham10000
from models.architecture import LesionClassifier
from models.classes import CLASSES
from models.preprocessing import decode_image
from training import predictions
from training.loop import TrainingDiverged
from training.predictions import predict


@pytest.fixture(scope="module")
def network() -> LesionClassifier:
    torch.manual_seed(0)
    return LesionClassifier()


@pytest.fixture(scope="module")
def images(synthetic_dataset: Path) -> tuple[LesionImage, ...]:
    return load_ham10000(synthetic_dataset).images[:10]


def test_each_image_gets_its_own_row(
    network: LesionClassifier, images: tuple[LesionImage, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_DECODED", 4)  # chunks of 4, 4 and 2
    seen: list[None] = []
    said = predict(network, images, lambda: seen.append(None))
    assert len(said) == len(seen) == len(images)
    assert said.images == images
    assert [CLASSES[label] for label in said.labels] == [image.diagnosis for image in images]
    for index in (0, 5, 9):
        pixels = torch.from_numpy(decode_image(images[index].path.read_bytes()))
        with torch.inference_mode():
            alone = network.eval().describe(pixels[None].permute(0, 3, 1, 2))
        assert said.logits[index] == pytest.approx(alone.logits[0].numpy(), abs=1e-3)
        assert said.features[index] == pytest.approx(alone.features[0].numpy(), abs=1e-3)
        assert said.statistics[index] == pytest.approx(alone.statistics[0].numpy(), abs=1e-3)


def test_the_parts_of_a_description_belong_together(
    network: LesionClassifier, images: tuple[LesionImage, ...]
) -> None:
    said = predict(network, images[:3])
    with torch.inference_mode():
        logits = network.classifier(torch.from_numpy(said.features)).numpy()
    assert said.logits == pytest.approx(logits, abs=1e-4)
    assert said.replay.image_ids == tuple(image.image_id for image in images[:3])
    assert said.replay.lesion_ids == tuple(image.lesion_id for image in images[:3])


def test_an_unreadable_image_is_named_and_left_out(
    network: LesionClassifier, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    broken = replace(images[1], path=tmp_path / "broken.jpg")
    said = predict(network, [images[0], broken, images[2]])
    assert said.unreadable == (broken.image_id,)
    assert said.images == (images[0], images[2])
    assert said.logits.shape == (2, len(CLASSES))
    assert said.logits[1] == pytest.approx(predict(network, [images[2]]).logits[0], abs=1e-3)


def test_a_network_that_has_diverged_is_refused(images: tuple[LesionImage, ...]) -> None:
    network = LesionClassifier()
    with torch.no_grad():
        network.classifier[1].bias[0] = float("nan")
    with pytest.raises(TrainingDiverged):
        predict(network, images[:1])
