"""The training loop: it learns, it repeats itself, and it stops when the numbers run away."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from data.synthetic import synthetic_lesion
from models.architecture import LesionClassifier
from models.classes import CLASSES
from training.dataset import ImageTensors
from training.loop import (
    Step,
    TrainingDiverged,
    _parameter_groups,
    _set_learning_rate,
    _update_average,
    logit_adjustment,
    predict_logits,
    train,
)
from training.settings import Phase, TrainingSettings

SIDE = 32


def _settings(epochs: int = 1, **changes: float) -> TrainingSettings:
    recipe = {"batch_size": 14, "learning_rate": 3e-3, "logit_adjustment": 0.0, **changes}
    phases = [{"epochs": epochs, "image_size": SIDE}]
    return TrainingSettings.model_validate({"phases": phases, **recipe})


def _pictures(codes: tuple[str, ...], per_class: int) -> ImageTensors:
    lesions = [(code, seed) for code in codes for seed in range(per_class)]
    pixels = np.stack([synthetic_lesion(code, seed, SIDE, SIDE) for code, seed in lesions])
    labels = torch.tensor([CLASSES.index(code) for code, _ in lesions])
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return ImageTensors(tensor, labels, torch.full((len(labels),), True), unreadable=())


@pytest.fixture(scope="module")
def images() -> ImageTensors:
    """Five small pictures of each class."""
    return _pictures(CLASSES, 5)


def _model(seed: int = 0, dropout: float = 0.2) -> LesionClassifier:
    torch.manual_seed(seed)
    return LesionClassifier(dropout)


def _weights(model: LesionClassifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_few_epochs_reduce_the_loss() -> None:
    steps: list[Step] = []
    brown_and_red = _pictures(("nv", "vasc"), 18)
    settings = _settings(epochs=8, batch_size=12, learning_rate=1e-3)
    train(_model(), brown_and_red, settings, on_step=steps.append)
    losses = [step.loss for step in steps]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_every_step_and_epoch_is_reported(images: ImageTensors) -> None:
    steps: list[Step] = []
    epochs: list[tuple[int, bool]] = []
    average = train(
        _model(),
        images,
        _settings(epochs=2),
        on_step=steps.append,
        on_epoch=lambda epoch, average: epochs.append((epoch, average.training)),
    )
    # 35 images make two batches of 14; the rest waits for another epoch.
    assert [(step.step, step.steps, step.epoch) for step in steps] == [
        (1, 4, 0),
        (2, 4, 0),
        (3, 4, 1),
        (4, 4, 1),
    ]
    assert epochs == [(1, False), (2, False)]
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_fewer_images_than_a_batch_make_one_step(images: ImageTensors) -> None:
    steps: list[Step] = []
    train(_model(), images, _settings(batch_size=64), on_step=steps.append)
    assert [step.steps for step in steps] == [1]


def test_each_phase_has_its_image_size(images: ImageTensors) -> None:
    shapes: list[torch.Size] = []
    model = _model()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    phases = (Phase(epochs=1, image_size=32), Phase(epochs=1, image_size=48))
    train(model, images, TrainingSettings(batch_size=14, phases=phases))
    assert [tuple(shape) for shape in shapes] == [(14, 3, 32, 32)] * 2 + [(14, 3, 48, 48)] * 2


def test_the_same_seed_gives_the_same_weights(images: ImageTensors) -> None:
    first = _weights(train(_model(), images, _settings()))
    assert _same(first, _weights(train(_model(), images, _settings())))
    assert not _same(first, _weights(train(_model(), images, _settings(seed=8))))


def test_every_layer_learns(images: ImageTensors) -> None:
    model = _model()
    before = _weights(model)
    train(model, images, _settings())
    after = model.state_dict()
    still = [name for name, _ in model.named_parameters() if torch.equal(before[name], after[name])]
    assert still == []


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_weights_stop_the_run_at_once(images: ImageTensors, broken: float) -> None:
    model = _model()
    with torch.no_grad():
        model.classifier[1].bias.fill_(broken)
    with pytest.raises(TrainingDiverged, match=r"in step 0\. Lower learning_rate"):
        train(model, images, _settings())
    with pytest.raises(TrainingDiverged, match="not finite"):
        predict_logits(model, images)


def test_a_learning_rate_that_is_far_too_high_is_reported(images: ImageTensors) -> None:
    with pytest.raises(TrainingDiverged, match=r"The loss became (nan|inf)"):
        train(_model(), images, _settings(epochs=4, learning_rate=1e25))


def test_the_average_follows_the_model(images: ImageTensors) -> None:
    model = _model()
    before = _weights(model)
    average = train(model, images, _settings(epochs=2, ema_decay=0.9))
    head = "classifier.1.weight"
    start, end = before[head], model.state_dict()[head]
    kept = average.state_dict()[head]
    assert not torch.equal(kept, end)
    assert (kept - end).norm() < (start - end).norm()


def test_without_decay_the_average_is_the_model(images: ImageTensors) -> None:
    model = _model()
    average = train(model, images, _settings(ema_decay=0.0))
    assert _same(_weights(model), _weights(average))


def test_the_average_moves_by_its_decay() -> None:
    average, model = _model(0), _model(1)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "num_batches_tracked")):
                buffer.fill_(5)
    before = _weights(average)
    _update_average(average, model, decay=0.75)
    for name, value in average.state_dict().items():
        current = model.state_dict()[name]
        if name.endswith("num_batches_tracked"):
            assert value == 5
        else:
            assert torch.allclose(value, 0.75 * before[name] + 0.25 * current, atol=1e-6)


def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    settings = _settings(learning_rate=0.01, warmup_fraction=0.2)
    optimizer = torch.optim.AdamW(_parameter_groups(_model(), 0.05))

    def rate(progress: float) -> float:
        _set_learning_rate(optimizer, settings, progress)
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
    _set_learning_rate(optimizer, _settings(learning_rate=0.01, warmup_fraction=0.0), 0.0)
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_only_matrices_and_kernels_decay() -> None:
    model = _model()
    decayed, others = _parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    undecayed = {names[parameter] for parameter in others["params"]}
    assert "classifier.1.bias" in undecayed
    assert "classifier.1.weight" not in undecayed
    assert len(decayed["params"]) + len(undecayed) == len(names)


def test_rare_classes_get_a_head_start_by_the_logarithm_of_their_share() -> None:
    labels = torch.tensor([5, 5, 5, 5, 5, 5, 4, 4])
    pixels = torch.zeros(8, 3, SIDE, SIDE, dtype=torch.uint8)
    images = ImageTensors(pixels, labels, torch.full((8,), True), unreadable=())
    adjustment = logit_adjustment(images, 2.0)
    assert adjustment[5] == pytest.approx(2 * math.log(6 / 8))
    assert adjustment[4] == pytest.approx(2 * math.log(2 / 8))
    assert adjustment[0] == pytest.approx(2 * math.log(1 / 8))  # absent counts as one image
    assert logit_adjustment(images, 0.0).abs().max() == 0


def test_prediction_keeps_order_over_batches_and_uses_no_dropout(images: ImageTensors) -> None:
    model = _model(dropout=0.9)
    many = ImageTensors(
        images.pixels.repeat(2, 1, 1, 1),
        images.labels.repeat(2),
        images.sharp.repeat(2),
        unreadable=(),
    )
    logits = predict_logits(model, many)
    assert logits.shape == (2 * len(images), len(CLASSES))
    assert logits.dtype == np.float32
    with torch.inference_mode():
        one_by_one = torch.cat([model(pixels[None]) for pixels in many.pixels]).numpy()
    np.testing.assert_allclose(logits, one_by_one, atol=1e-4)
