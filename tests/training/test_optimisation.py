"""Optimisation: the course of the learning rate, what decays, and how the average moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.architecture import LesionClassifier
from training.optimisation import (
    logit_adjustment,
    parameter_groups,
    set_learning_rate,
    update_average,
)
from training.settings import TrainingSettings


def _settings(**changes: float) -> TrainingSettings:
    phases = [{"epochs": 1, "image_size": 32}]
    return TrainingSettings.model_validate({"phases": phases, **changes})


def _model(seed: int = 0) -> LesionClassifier:
    torch.manual_seed(seed)
    return LesionClassifier()


def _weights(model: LesionClassifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_average_moves_by_its_decay() -> None:
    average, model = _model(0), _model(1)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "num_batches_tracked")):
                buffer.fill_(5)
    before = _weights(average)
    update_average(average, model, decay=0.75)
    for name, value in average.state_dict().items():
        current = model.state_dict()[name]
        if name.endswith("num_batches_tracked"):
            assert value == 5
        else:
            assert torch.allclose(value, 0.75 * before[name] + 0.25 * current, atol=1e-6)


def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    settings = _settings(learning_rate=0.01, warmup_fraction=0.2)
    optimizer = torch.optim.AdamW(parameter_groups(_model(), 0.05))

    def rate(progress: float) -> float:
        set_learning_rate(optimizer, settings, progress)
        rates = {group["lr"] for group in optimizer.param_groups}
        assert len(rates) == 1
        return float(rates.pop())

    assert 0 < rate(0) < 1e-4
    assert rate(0.1) == pytest.approx(0.005, rel=0.02)
    assert rate(0.2) == pytest.approx(0.01)
    assert rate(0.4) == pytest.approx(0.005 * (1 + math.cos(math.pi / 4)))
    assert rate(0.6) == pytest.approx(0.005)
    assert rate(1) == pytest.approx(0)
    course = [rate(progress) for progress in np.linspace(0, 1, 101)]
    assert np.argmax(course) in (19, 20)
    assert max(course) <= 0.01


def test_without_warm_up_the_learning_rate_starts_at_its_peak() -> None:
    optimizer = torch.optim.AdamW(_model().parameters())
    set_learning_rate(optimizer, _settings(learning_rate=0.01, warmup_fraction=0.0), 0.0)
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_only_matrices_and_kernels_decay() -> None:
    model = _model()
    decayed, others = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    undecayed = {names[parameter] for parameter in others["params"]}
    assert "classifier.1.bias" in undecayed
    assert "classifier.1.weight" not in undecayed
    assert len(decayed["params"]) + len(undecayed) == len(names)


def test_rare_classes_get_a_head_start_by_the_logarithm_of_their_share() -> None:
    counts = torch.tensor([0, 0, 0, 0, 2, 6, 0])
    adjustment = logit_adjustment(counts, 2.0)
    assert adjustment[5] == pytest.approx(2 * math.log(6 / 8))
    assert adjustment[4] == pytest.approx(2 * math.log(2 / 8))
    assert adjustment[0] == pytest.approx(2 * math.log(1 / 8))  # absent counts as one image
    assert logit_adjustment(counts, 0.0).abs().max() == 0
