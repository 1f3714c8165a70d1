"""The start: a backbone gets a new head, a whole network keeps its own, other files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.architecture import LesionClassifier
from models.errors import InvalidPackage
from models.package import BUNDLED_CHAMPION, WEIGHTS_FILE, sha256_of
from training.settings import Phase, TrainingSettings
from training.start import name_of, start_file, start_network

SETTINGS = TrainingSettings(dropout=0.5, phases=(Phase(epochs=1, image_size=32),))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / WEIGHTS_FILE
    torch.manual_seed(3)
    save_file(LesionClassifier().state_dict(), path)
    return path


def test_a_whole_network_keeps_its_head_and_takes_the_recipes_dropout(whole: Path) -> None:
    network = start_network(start_file(whole), SETTINGS)
    torch.manual_seed(3)
    expected = LesionClassifier().state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name])
    assert network.classifier[0].p == 0.5
    assert network.training


def test_a_backbone_gets_the_head_of_the_seed(untrained_features: Path) -> None:
    first = start_network(untrained_features, SETTINGS).state_dict()
    again = start_network(untrained_features, SETTINGS).state_dict()
    other = start_network(untrained_features, SETTINGS.model_copy(update={"seed": 8})).state_dict()
    assert torch.equal(first["classifier.1.weight"], again["classifier.1.weight"])
    assert not torch.equal(first["classifier.1.weight"], other["classifier.1.weight"])
    assert torch.equal(first["features.0.0.weight"], other["features.0.0.weight"])


def test_a_package_stands_for_its_weights() -> None:
    assert start_file(BUNDLED_CHAMPION) == BUNDLED_CHAMPION / WEIGHTS_FILE


def test_starts_are_told_apart_by_content(whole: Path, tmp_path: Path) -> None:
    assert name_of(None) == "imagenet"
    assert name_of(whole) == sha256_of(whole)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", None])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidPackage, match=r"weights\.safetensors"):
        start_network(start_file(path), SETTINGS)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    for name in ("features.0.0.weight", "layer1.weight"):
        path = tmp_path / f"{name}.safetensors"
        save_file({name: torch.zeros(3)}, path)
        with pytest.raises(InvalidPackage):
            start_network(path, SETTINGS)


def test_a_folder_without_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPackage, match="no model package"):
        start_file(tmp_path)
