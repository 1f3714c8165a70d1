"""A soup is the mean of its networks, weight by weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.architecture import LesionClassifier
from models.errors import InvalidConfiguration, InvalidPackage
from training.soup import average_networks


def _network(folder: Path, seed: int) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    state = LesionClassifier().state_dict()
    path = folder / f"{seed}.safetensors"
    save_file(state, path)
    return path, state


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    networks = [_network(tmp_path, seed) for seed in (1, 2, 3)]
    average = average_networks([path for path, _ in networks]).state_dict()
    for name, value in average.items():
        if value.dtype.is_floating_point:
            expected = torch.stack([state[name] for _, state in networks]).mean(dim=0)
            assert torch.allclose(value, expected, atol=1e-6), name
    assert not torch.equal(average["classifier.1.weight"], networks[0][1]["classifier.1.weight"])


def test_one_network_is_its_own_soup(tmp_path: Path) -> None:
    path, state = _network(tmp_path, 1)
    average = average_networks([path])
    assert not average.training
    assert all(torch.equal(value, state[name]) for name, value in average.state_dict().items())


def test_nothing_makes_no_soup(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="no weights to average"):
        average_networks([])
    with pytest.raises(InvalidPackage, match="absent"):
        average_networks([tmp_path / "absent.safetensors"])


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path, _ = _network(tmp_path, 1)
    save_file({"layer.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InvalidPackage, match="does not hold this network's weights"):
        average_networks([path, tmp_path / "other.safetensors"])
