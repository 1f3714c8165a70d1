"""The training loop: it learns, it repeats itself, and it stops when the numbers run away."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from data.synthetic import synthetic_lesion
from models.architecture import LesionClassifier
from models.classes import CLASSES
from models.errors import InvalidDataset
from training.dataset import ImageTensors
from training.group import Group
from training.loop import (
    Step,
    TrainingDiverged,
    TrainingLoop,
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


def _loop(model: LesionClassifier, images: ImageTensors, **changes: float) -> TrainingLoop:
    return TrainingLoop(model, images, _settings(epochs=3, **changes))


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_loop_that_goes_on_ends_as_one_that_never_stopped(
    images: ImageTensors, stop: int
) -> None:
    whole = _loop(_model(), images)
    while not whole.finished:
        expected = whole.advance()

    first = _loop(_model(), images)
    for _ in range(stop):
        first.advance()
    kept = {name: value.clone() for name, value in first.state().items()}
    torch.manual_seed(99)
    second = _loop(_model(seed=5), images)  # whatever it began with is replaced
    second.restore(kept, first.step)
    assert second.epoch == stop // 2
    while not second.finished:
        last = second.advance()

    assert (last.step, last.steps, last.loss) == (6, 6, expected.loss)
    assert _same(whole.state(), second.state())
    assert _same(_weights(whole.average), _weights(second.average))


def test_what_is_restored_is_a_copy(images: ImageTensors) -> None:
    first = _loop(_model(), images)
    first.advance()
    state = first.state()
    before = {name: value.clone() for name, value in state.items()}
    second = _loop(_model(), images)
    second.restore(state, 1)
    second.advance()
    assert _same(before, first.state())


def test_a_state_of_another_network_is_refused(images: ImageTensors) -> None:
    loop = _loop(_model(), images)
    with pytest.raises((KeyError, RuntimeError)):
        loop.restore({"model.nothing": torch.zeros(1), "average.nothing": torch.zeros(1)}, 1)


def test_an_absent_class_does_no_harm() -> None:
    steps: list[Step] = []
    average = train(
        _model(),
        _pictures(("nv", "mel"), 8),
        _settings(epochs=2, batch_size=8, logit_adjustment=1.0),
        on_step=steps.append,
    )
    assert all(math.isfinite(step.loss) for step in steps)
    assert all(value.isfinite().all() for value in _weights(average).values())


def test_an_empty_share_is_refused() -> None:
    empty = ImageTensors(
        torch.zeros(0, 3, SIDE, SIDE, dtype=torch.uint8),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.bool),
        unreadable=(),
    )
    with pytest.raises(InvalidDataset, match="fewer workers"):
        TrainingLoop(_model(), empty, _settings())


def test_a_share_that_is_short_begins_again() -> None:
    # Two workers, 15 images in all: this one holds 6 and needs 7 in an epoch of one batch.
    loop = TrainingLoop(
        _model(),
        _pictures(("nv", "mel"), 3),
        _settings(),
        group=Group(rank=1, size=2),
        class_counts=torch.tensor([0, 0, 0, 0, 7, 8, 0]),
    )
    assert loop.steps_per_epoch == 1
    order = loop._order(0)
    assert sorted(order[:6].tolist()) == list(range(6))
    assert len(order) == 12


def test_ranks_and_epochs_see_the_images_in_other_orders(images: ImageTensors) -> None:
    counts = 2 * images.class_counts()
    first, second = (
        TrainingLoop(
            _model(), images, _settings(), group=Group(rank=rank, size=2), class_counts=counts
        )
        for rank in (0, 1)
    )
    orders = [first._order(0).tolist(), second._order(0).tolist(), first._order(1).tolist()]
    assert len({tuple(order) for order in orders}) == 3
    assert first._order(0).tolist() == orders[0]


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
