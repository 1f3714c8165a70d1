"""Checkpoints: they come back as they were, whole or not at all, and few of them stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.checkpoint import (
    PROGRESS_FILE,
    TENSORS_FILE,
    Checkpoint,
    CheckpointFolder,
    InvalidCheckpoint,
    Position,
)
from training.progress import EpochRecord

RECORD = EpochRecord(1, 0.5, 2.0, 31.5, {"macro_auc": 0.9, "by_class": {"nv": {"recall": 1.0}}})


def _checkpoint(step: int = 3) -> Checkpoint:
    tensors = {
        "model.counter": torch.tensor(7),
        "model.kernel": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "optimizer.0.step": torch.tensor(3.0),
    }
    return Checkpoint(tensors, Position(step=step, history=(RECORD,), loss_sum=1.25, seconds=0.5))


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    written = _checkpoint()
    written.save(tmp_path)
    read = Checkpoint.load(tmp_path)
    assert read.position == written.position
    assert read.tensors.keys() == written.tensors.keys()
    for name, value in written.tensors.items():
        assert torch.equal(read.tensors[name], value)
        assert read.tensors[name].dtype == value.dtype


@pytest.mark.parametrize("name", [PROGRESS_FILE, TENSORS_FILE])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_checkpoint_is_refused_by_its_name(
    tmp_path: Path, name: str, damage: str
) -> None:
    _checkpoint().save(tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b'{"step": -1}')
    with pytest.raises(InvalidCheckpoint) as refusal:
        Checkpoint.load(tmp_path)
    assert str(tmp_path) in refusal.value.message
    assert "Start a new run" in refusal.value.message


def test_the_last_checkpoints_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert folder.latest() is None
    for step in (2, 10, 9, 100):
        folder.add(_checkpoint(step))
    latest = folder.latest()
    assert latest is not None
    assert Checkpoint.load(latest).position.step == 100
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_checkpoint_that_could_not_be_finished_is_no_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.add(_checkpoint(1))
    broken = _checkpoint(2)
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / TENSORS_FILE).write_bytes(b"half")
    latest = folder.latest()
    assert latest is not None
    assert Checkpoint.load(latest).position.step == 1
    folder.add(broken)
    latest = folder.latest()
    assert latest is not None
    assert Checkpoint.load(latest).position.step == 2
