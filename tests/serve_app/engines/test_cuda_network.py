"""The network for the GPU says what the network says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from models.architecture import Description, load_classifier
from models.errors import InvalidPackage
from models.novelty import NoveltyDetector
from models.package import NOVELTY_FILE, WEIGHTS_FILE, ModelPackage
from models.reference import Reference, check_reference
from serve_app.engines.cuda_network import fold_batch_norms, load_network

CPU = torch.device("cpu")


def _describe(network: nn.Module, images: npt.NDArray[np.uint8]) -> Description:
    with torch.inference_mode():
        said: Description = network.describe(torch.from_numpy(images).permute(0, 3, 1, 2))
    return said


def test_folding_changes_nothing_but_rounding(
    champion: ModelPackage, lesions: npt.NDArray[np.uint8]
) -> None:
    exact = load_classifier(champion.file(WEIGHTS_FILE))
    folded = load_classifier(champion.file(WEIGHTS_FILE))
    fold_batch_norms(folded)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in exact.modules()) == 52
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    for ours, theirs in zip(_describe(folded, lesions), _describe(exact, lesions), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)
        assert theirs.std(dim=0).max() > 0.01  # else agreement would mean little


def test_folding_leaves_what_is_no_pair() -> None:
    layers = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    before = list(layers)
    fold_batch_norms(layers.eval())
    assert list(layers) == before


def test_in_bf16_it_passes_the_self_test_of_a_replica(
    champion: ModelPackage, lesions: npt.NDArray[np.uint8]
) -> None:
    exact = _describe(load_classifier(champion.file(WEIGHTS_FILE)), lesions)
    ours = _describe(load_network(champion.file(WEIGHTS_FILE), CPU, torch.bfloat16), lesions)
    reference = Reference(lesions, exact.logits.numpy())
    check_reference(reference, ours.logits.float().numpy(), "bf16")
    novelty = NoveltyDetector.load(champion.file(NOVELTY_FILE))
    scores = novelty.score(ours.statistics.float().numpy())
    assert scores == pytest.approx(novelty.score(exact.statistics.numpy()), rel=0.3)


def test_it_is_laid_out_for_the_gpu(champion: ModelPackage) -> None:
    network = load_network(champion.file(WEIGHTS_FILE), CPU, torch.bfloat16)
    assert not network.training
    tensors = [*network.parameters(), *network.buffers()]
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    assert not any(tensor.requires_grad for tensor in tensors)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_of_another_network_are_refused(
    untrained_features: Path,
) -> None:
    with pytest.raises(InvalidPackage, match="does not hold this network's weights"):
        load_network(untrained_features, CPU, torch.float32)
