"""The drift reference: what is written is read, and what does not fit is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.drift_reference import DriftReference
from models.errors import InvalidPackage
from models.package import DRIFT_FILE, ModelPackage
from tests.models.packages import write_small_package


def _reference(images: int = 5, **changes: Any) -> DriftReference:
    random = np.random.default_rng(0)
    values: dict[str, Any] = {
        "statistics": random.normal(size=(images, 192)).astype(np.float32),
        "logits": random.normal(size=(images, 7)).astype(np.float32),
        "labels": random.integers(0, 7, images),
    }
    return DriftReference(**{**values, **changes})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = _reference()
    written.save(tmp_path / "drift.safetensors")
    read = DriftReference.load(tmp_path / "drift.safetensors")
    assert np.abs(read.statistics - written.statistics).max() < 2e-3
    assert np.array_equal(read.logits, written.logits)
    assert np.array_equal(read.labels, written.labels)


@pytest.mark.parametrize(
    "changes",
    [
        {"statistics": np.zeros((5, 191), np.float32)},
        {"statistics": np.full((5, 192), math.nan, np.float32)},
        {"logits": np.zeros((4, 7), np.float32)},
        {"logits": np.full((5, 7), math.inf, np.float32)},
        {"labels": np.array([0, 1, 2, 3, 7])},
        {"labels": np.array([0, 1, 2, 3, -1])},
        {"images": 1},
        {"images": 0},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidPackage):
        _reference(**changes)


@pytest.mark.parametrize("damage", ["missing", "text", "tensor", "shape"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "drift.safetensors"
    if damage != "missing":
        _reference().save(path)
        tensors = load_file(path)
        if damage == "text":
            path.write_text("not safetensors")
        elif damage == "tensor":
            save_file({"logits": tensors["logits"]}, path)
        else:
            save_file(tensors | {"labels": tensors["labels"][:3]}, path)
    with pytest.raises(InvalidPackage, match=r"drift\.safetensors"):
        DriftReference.load(path)


def test_the_champion_has_one(champion: ModelPackage) -> None:
    reference = DriftReference.load(champion.file(DRIFT_FILE))
    test = champion.manifest.metrics["validation"]
    assert isinstance(test, dict)
    right = reference.logits.argmax(axis=1) == reference.labels
    assert len(right) == test["images"]
    assert right.mean() == pytest.approx(test["accuracy"])


def test_an_older_package_has_none(tmp_path: Path) -> None:
    assert DRIFT_FILE not in ModelPackage.load(write_small_package(tmp_path / "old", "1"))
