"""The group: shares that make a whole, sums that all agree on, and a loop in two processes."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.synthetic import synthetic_lesion
from models.architecture import LesionClassifier
from models.classes import CLASSES
from tests.training.distributed import run_group
from training.dataset import ImageTensors
from training.group import Group
from training.loop import TrainingDiverged, TrainingLoop
from training.settings import Phase, TrainingSettings

SIDE = 32
# 27 images of a batch of 9: shares and parts are unequal.
SETTINGS = TrainingSettings(batch_size=9, phases=(Phase(epochs=1, image_size=SIDE),))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_and_parts_make_the_whole(size: int) -> None:
    groups = [Group(rank, size) for rank in range(size)]
    items = list(range(11))
    assert sorted(item for group in groups for item in group.share(items)) == items
    assert sum(group.part(11) for group in groups) == 11
    assert max(group.part(11) for group in groups) - min(group.part(11) for group in groups) <= 1
    assert [group.leads for group in groups] == [True] + [False] * (size - 1)


def test_alone_a_sum_is_what_it_was() -> None:
    tensor = torch.tensor([1.0, 2.0])
    assert Group().sum_(tensor) is tensor
    assert tensor.tolist() == [1, 2]
    assert [Group().any_(flag) for flag in (True, False)] == [True, False]


def _share(group: Group) -> tuple[ImageTensors, torch.Tensor]:
    """This process's images, and the class counts of all."""
    lesions = [(code, seed) for code in CLASSES[:3] for seed in range(9)]
    labels = torch.tensor([CLASSES.index(code) for code, _ in lesions])
    mine = group.share(lesions)
    pixels = np.stack([synthetic_lesion(code, seed, SIDE, SIDE) for code, seed in mine])
    own = labels[group.rank :: group.size]
    share = ImageTensors(
        torch.from_numpy(pixels).permute(0, 3, 1, 2), own, torch.full((len(own),), True), ()
    )
    return share, torch.bincount(labels, minlength=len(CLASSES))


def _parallel(model: LesionClassifier) -> nn.Module:
    return DistributedDataParallel(model, broadcast_buffers=False)


def _train_and_diverge(group: Group, folder: Path) -> None:
    """Two steps, whose state is saved; then one that only rank 1's weights spoil."""
    warnings.simplefilter("ignore")  # of torch, about strides of gradients
    assert group.any_(group.rank == 1)
    assert not group.any_(False)
    assert group.sum_(torch.tensor([group.rank, 1])).tolist() == [1, 2]

    images, counts = _share(group)
    torch.manual_seed(0)
    loop = TrainingLoop(
        LesionClassifier(), images, SETTINGS, group=group, class_counts=counts, parallel=_parallel
    )
    assert (loop.steps, loop.batch_size) == (3, 9)
    losses = [loop.advance().loss, loop.advance().loss]
    state = {name: value.contiguous() for name, value in loop.state().items()}
    state["losses"] = torch.tensor(losses)
    save_file(state, folder / f"{group.rank}.safetensors")

    if group.rank == 1:
        with torch.no_grad():
            loop.model.classifier[1].bias.fill_(math.nan)
    with pytest.raises(TrainingDiverged, match="in step 2"):
        loop.advance()


def test_two_processes_stay_equal_and_stop_together(tmp_path: Path) -> None:
    run_group(2, tmp_path, _train_and_diverge)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name

    torch.manual_seed(0)
    before = LesionClassifier().state_dict()
    mean = "features.0.1.running_mean"
    assert not torch.equal(first[f"model.{mean}"], before[mean])
    assert first["losses"].isfinite().all()


def _gradient(group: Group, folder: Path) -> None:
    """The first gradient of the head, of shares of 5 and 4 images."""
    warnings.simplefilter("ignore")
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    network = DistributedDataParallel(model)
    inputs = torch.arange(27.0).view(9, 3)[group.rank :: group.size]
    targets = torch.arange(9)[group.rank :: group.size] % 2
    assert len(inputs) == group.part(9)
    loss = nn.functional.cross_entropy(network(inputs), targets) * (len(inputs) * group.size / 9)
    torch.autograd.backward(loss)
    assert model.weight.grad is not None
    if group.leads:
        save_file({"gradient": model.weight.grad}, folder / "gradient.safetensors")


def test_unequal_parts_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    run_group(2, tmp_path, _gradient)
    weight = torch.zeros(2, 3, requires_grad=True)
    logits = torch.arange(27.0).view(9, 3) @ weight.T
    torch.autograd.backward(nn.functional.cross_entropy(logits, torch.arange(9) % 2))
    assert weight.grad is not None
    together = load_file(tmp_path / "gradient.safetensors")["gradient"]
    torch.testing.assert_close(together, weight.grad)
