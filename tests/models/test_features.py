"""Replay features come back as they went in, within a 255th of their range, or are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.features import FEATURES, ReplayFeatures, load_replay, save_replay


def _split(count: int, seed: int) -> ReplayFeatures:
    rng = np.random.default_rng(seed)
    return ReplayFeatures(
        rng.gamma(0.5, 1.0, (count, FEATURES)).astype(np.float32),
        rng.integers(0, len(CLASSES), count),
        tuple(f"ISIC_{index:07}" for index in range(count)),
        tuple(f"HAM_{index // 2:07}" for index in range(count)),
    )


@pytest.fixture
def splits() -> dict[str, ReplayFeatures]:
    return {"train": _split(50, 1), "validation": _split(1, 2), "test": _split(20, 3)}


@pytest.fixture
def path(splits: dict[str, ReplayFeatures], tmp_path: Path) -> Path:
    path = tmp_path / "replay.safetensors"
    save_replay(path, splits)
    return path


def test_everything_comes_back(splits: dict[str, ReplayFeatures], path: Path) -> None:
    replayed = load_replay(path)
    assert list(replayed) == list(splits)
    everything = np.concatenate([split.features for split in splits.values()])
    half_a_step = (np.ptp(everything, axis=0) / 255 / 2) * 1.01
    for name, split in splits.items():
        again = replayed[name]
        assert (np.abs(again.features - split.features) <= half_a_step).all()
        assert again.features.dtype == np.float32
        assert np.array_equal(again.labels, split.labels)
        assert (again.image_ids, again.lesion_ids) == (split.image_ids, split.lesion_ids)
        assert len(again) == len(split)


def test_a_number_takes_a_byte(splits: dict[str, ReplayFeatures], path: Path) -> None:
    numbers = sum(len(split) for split in splits.values()) * FEATURES
    assert path.stat().st_size < numbers + 30_000


def test_features_that_never_vary_are_kept(tmp_path: Path) -> None:
    same = ReplayFeatures(np.full((3, FEATURES), 2.5, np.float32), np.zeros(3, int), *2 * ("abc",))
    save_replay(tmp_path / "same", {"train": same})
    assert load_replay(tmp_path / "same")["train"].features == pytest.approx(same.features)


def _damage(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    tensors = load_file(path)
    ids = {name: [list("ab"), list("ab")] for name in ("train",)}
    tensors = {
        "low": tensors["low"],
        "step": tensors["step"],
        "train.features": tensors["train.features"][:2],
        "train.labels": tensors["train.labels"][:2],
    }
    change(tensors, ids)
    save_file(tensors, path, metadata={"ids": json.dumps(ids)})


DAMAGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "no step": lambda tensors, ids: tensors.pop("step"),
    "no labels": lambda tensors, ids: tensors.pop("train.labels"),
    "fewer labels": lambda tensors, ids: tensors.update({"train.labels": np.zeros(1, np.uint8)}),
    "no such class": lambda tensors, ids: tensors.update({"train.labels": np.full(2, 7, np.uint8)}),
    "narrower": lambda tensors, ids: tensors.update({"train.features": np.zeros((2, 5), np.uint8)}),
    "fewer ids": lambda tensors, ids: ids.update(train=[["a"], ["a"]]),
    "unlike ids": lambda tensors, ids: ids.update(train=[["a", "b"], ["a"]]),
    "another split": lambda tensors, ids: ids.update(test=[["a"], ["a"]]),
    "ids of another form": lambda tensors, ids: ids.update(train=7),
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_another_form_is_refused(
    path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    _damage(path, lambda tensors, ids: None)
    assert len(load_replay(path)["train"]) == 2  # sound until it is changed
    _damage(path, lambda tensors, ids: None)
    tensors = load_file(path)
    assert tensors
    _damage(path, change)
    with pytest.raises(InvalidPackage, match="cannot be read as replay features"):
        load_replay(path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * 8])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(InvalidPackage, match="cannot be read as replay features"):
        load_replay(tmp_path / "broken")
    with pytest.raises(InvalidPackage, match="cannot be read as replay features"):
        load_replay(tmp_path / "absent")
