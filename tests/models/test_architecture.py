"""The network: its shapes, its own normalisation, and weights that fit or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.architecture import (
    MEAN,
    STD,
    LesionClassifier,
    load_classifier,
    load_imagenet_features,
)
from models.classes import CLASSES
from models.errors import InvalidPackage
from models.features import FEATURES
from models.package import WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE


@pytest.fixture(scope="module")
def network() -> LesionClassifier:
    torch.manual_seed(0)
    return LesionClassifier().eval()


def _images(count: int, size: int = IMAGE_SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("count", [1, 3])
def test_images_become_one_logit_per_class(network: LesionClassifier, count: int) -> None:
    with torch.inference_mode():
        assert network.pooled_features(_images(count)).shape == (count, FEATURES)
        logits = network(_images(count))
    assert logits.shape == (count, len(CLASSES))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_bytes_and_floats_are_the_same_picture(network: LesionClassifier) -> None:
    images = _images(2, size=64)
    with torch.inference_mode():
        assert torch.equal(network(images), network(images.float()))


def test_normalisation_is_imagenets(network: LesionClassifier) -> None:
    images = _images(2, size=64)
    scaled = images / 255
    normalised = (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        expected = network.features(normalised).mean(dim=(2, 3))
        torch.testing.assert_close(network.pooled_features(images), expected)


def test_an_image_is_judged_by_itself(network: LesionClassifier) -> None:
    images = _images(4, size=64)
    with torch.inference_mode():
        torch.testing.assert_close(network(images)[2:3], network(images[2:3]))


def test_normalisation_is_no_part_of_the_weights(network: LesionClassifier) -> None:
    assert not {"mean", "std"} & network.state_dict().keys()
    assert network.state_dict()["classifier.1.weight"].shape == (len(CLASSES), FEATURES)


def test_a_packages_weights_fit(tiny_package: ModelPackage) -> None:
    path = tiny_package.file(WEIGHTS_FILE)
    loaded = load_classifier(path)
    assert not loaded.training
    stored = load_file(path)
    assert stored.keys() == loaded.state_dict().keys()
    assert all(torch.equal(stored[name], value) for name, value in loaded.state_dict().items())


def _foreign(network: LesionClassifier) -> dict[str, dict[str, torch.Tensor]]:
    state = network.state_dict()
    first = next(iter(state))
    return {
        "missing": {name: value for name, value in state.items() if name != first},
        "unknown": {**state, "extra.weight": torch.zeros(1)},
        "shape": {**state, first: torch.zeros(1)},
        "nothing": {},
    }


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "nothing"])
def test_another_networks_weights_are_refused(
    network: LesionClassifier, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(_foreign(network)[fault], path)
    with pytest.raises(InvalidPackage, match=r"foreign\.safetensors does not hold"):
        load_classifier(path)
    with pytest.raises(InvalidPackage, match=r"foreign\.safetensors holds the weights of another"):
        load_imagenet_features(LesionClassifier(), path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\xff" * 64, b"\x80\x02}q\x00."], ids=repr
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(InvalidPackage, match=r"weights\.bin cannot be read"):
        load_classifier(path)
    with pytest.raises(InvalidPackage, match=r"weights\.bin cannot be read"):
        load_imagenet_features(LesionClassifier(), path)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPackage, match=r"absent\.safetensors cannot be read"):
        load_classifier(tmp_path / "absent.safetensors")
    with pytest.raises(InvalidPackage, match=r"absent\.safetensors does not exist.*--weights"):
        load_imagenet_features(LesionClassifier(), tmp_path / "absent.safetensors")


def test_a_backbone_is_taken_over(untrained_features: Path) -> None:
    model = LesionClassifier()
    head = model.classifier[1].weight.clone()
    load_imagenet_features(model, untrained_features)
    stored = load_file(untrained_features)
    assert all(
        torch.equal(stored[name], value) for name, value in model.features.state_dict().items()
    )
    assert torch.equal(model.classifier[1].weight, head)


def test_no_way_to_the_weights_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # nothing listens there
    with pytest.raises(InvalidPackage, match=r"cannot be downloaded.*--weights"):
        load_imagenet_features(LesionClassifier(), None)
