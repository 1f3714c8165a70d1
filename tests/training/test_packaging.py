"""Packaging: decision rules from validation, and a package that is written whole or not at all."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from data.ham10000 import load_ham10000
from data.splits import SPLITS, Split, frozen_split
from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.drift_reference import DriftReference
from models.errors import InvalidConfiguration
from models.export import export_openvino
from models.features import load_replay
from models.package import (
    CARD_FILE,
    DRIFT_FILE,
    INT8_GRAPH_FILE,
    MANIFEST_FILE,
    REPLAY_FILE,
    WEIGHTS_FILE,
    ModelPackage,
)
from tests.models.packages import PACKAGE_FILES
from training import packaging, quantization
from training.draft import PackageNotWritten, check_target
from training.packaging import write_package
from training.predictions import Predictions, predict


@pytest.fixture(scope="module")
def network(champion: ModelPackage) -> LesionClassifier:
    """Weights that tell images apart."""
    return load_classifier(champion.file(WEIGHTS_FILE))


@pytest.fixture(scope="module")
def split(synthetic_dataset: Path) -> Split:
    return frozen_split(load_ham10000(synthetic_dataset).images)


@pytest.fixture(scope="module")
def predictions(network: LesionClassifier, split: Split) -> dict[str, Predictions]:
    return {name: predict(network, getattr(split, name)) for name in SPLITS}


Write = Callable[..., ModelPackage]


@pytest.fixture
def write(network: LesionClassifier, split: Split, predictions: dict[str, Predictions]) -> Write:
    """Writes a package quickly."""

    def write(folder: Path, version: str = "2", **changes: Any) -> ModelPackage:
        arguments: dict[str, Any] = {
            "predictions": predictions,
            "logit_shift": np.zeros(len(CLASSES), np.float32),
            "split": split,
            "dataset_hash": "0" * 64,
            "recipe": {"seed": 7},
            "notes": ("More epochs helped.",),
            "int8": False,
            "bootstrap": 10,
        }
        return write_package(folder, network, version=version, **{**arguments, **changes})

    return write


@pytest.fixture
def old(tiny_package: ModelPackage, tmp_path: Path) -> Path:
    """A package that a new one is to replace."""
    return shutil.copytree(tiny_package.folder, tmp_path / "models" / "old")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def _small_disk(size_bytes: int) -> Iterator[None]:
    """A real limit of the kernel: no file may grow beyond it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_package_replaces_another_and_is_readable_by_all(write: Write, old: Path) -> None:
    before = _contents(old)
    package = write(old)
    assert package.manifest.version == "2"
    assert _contents(old).keys() == before.keys()
    assert all(data != before[name] for name, data in _contents(old).items())
    assert list(old.parent.iterdir()) == [old]
    assert old.stat().st_mode & 0o005 == 0o005
    assert all(path.stat().st_mode & 0o004 for path in old.iterdir())


def test_a_package_holds_safetensors_and_a_graph_and_nothing_pickled(
    tiny_package: ModelPackage,
) -> None:
    names = set(PACKAGE_FILES)
    assert {path.name for path in tiny_package.folder.iterdir()} == {*names, MANIFEST_FILE}
    assert tiny_package.manifest.files.keys() == names
    weights = load_file(tiny_package.file(WEIGHTS_FILE))
    assert weights["classifier.1.weight"].shape == (len(CLASSES), 1280)
    for path in tiny_package.folder.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK"))  # pickle, or zipped by torch


def test_a_full_disk_leaves_the_old_package_and_no_draft(write: Write, old: Path) -> None:
    before = _contents(old)
    with _small_disk(1_000_000), pytest.raises(PackageNotWritten, match="File too large"):
        write(old)
    assert _contents(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_a_disk_that_fills_up_at_the_graph_leaves_the_old_package_and_no_draft(
    write: Write, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(model: LesionClassifier, path: Path) -> None:
        with _small_disk(1_000_000):
            export_openvino(model, path)

    monkeypatch.setattr(packaging, "export_openvino", export)
    before = _contents(old)
    with pytest.raises(PackageNotWritten, match="If the disk is full, free some space"):
        write(old)
    assert _contents(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_a_crash_in_the_middle_leaves_the_old_package_and_no_draft(
    write: Write, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(model: LesionClassifier, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packaging, "export_openvino", crash)
    before = _contents(old)
    with pytest.raises(KeyboardInterrupt):
        write(old)
    assert _contents(old) == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("version", ["", "my model", "-1", "../2", "2\n", "x" * 65])
def test_a_version_that_is_no_name_is_refused(write: Write, tmp_path: Path, version: str) -> None:
    with pytest.raises(InvalidConfiguration, match="is no version name"):
        check_target(tmp_path / "model", version)
    with pytest.raises(InvalidConfiguration, match="is no version name"):
        write(tmp_path / "model", version)


def test_good_names_and_folders_are_accepted(tmp_path: Path, old: Path) -> None:
    for version in ("1", "2026-01-31", "v1.2_b", "x" * 64):
        check_target(tmp_path / "model", version)
        check_target(old, version)


def test_the_card_says_what_the_manifest_says(write: Write, tmp_path: Path) -> None:
    package = write(tmp_path / "model")
    manifest = package.manifest
    card = package.file(CARD_FILE).read_text()
    assert "# DermServe model 2" in card
    assert manifest.dataset_hash in card
    assert manifest.split.name in card
    assert "- More epochs helped." in card
    test: Any = manifest.metrics["test"]
    assert f"| balanced accuracy | {test['balanced_accuracy']:.3f}" in card
    for point in (manifest.decision.malignant, manifest.decision.melanoma):
        assert (
            f"| {point.threshold:.4f} | {point.validation_sensitivity:.2f} | "
            f"{point.test_sensitivity:.3f} | {point.test_specificity:.3f} |" in card
        )
    for name in SPLITS:
        counts = getattr(manifest.split, name)
        assert f"| {name} | {' | '.join(str(counts[code]) for code in CLASSES)} |" in card
    for code in CLASSES:
        assert f"| {code} | {manifest.split.test[code]} |" in card
    assert f"On {sum(manifest.split.test.values())} images" in card
    assert "None was made." in card


def test_the_metrics_are_those_of_the_predictions(
    write: Write, predictions: dict[str, Predictions], tmp_path: Path
) -> None:
    metrics: Any = write(tmp_path / "model").manifest.metrics
    for name in ("validation", "test"):
        part = predictions[name]
        right = part.logits.argmax(axis=1) == part.labels
        assert metrics[name]["accuracy"] == pytest.approx(right.mean())
        assert metrics[name]["images"] == len(part)
    low, high = metrics["test"]["intervals"]["accuracy"]
    assert low <= metrics["test"]["accuracy"] <= high
    assert 0 <= metrics["test"]["prediction_set"]["coverage"] <= 1
    assert metrics["novelty"]["pictures"] == 200
    assert "int8" not in metrics
    assert list(metrics["calibration"])[-1] == "and temperature"
    json.dumps(metrics)


def test_the_replay_features_are_those_of_the_network(
    write: Write, predictions: dict[str, Predictions], tmp_path: Path
) -> None:
    replay = load_replay(write(tmp_path / "model").file(REPLAY_FILE))
    for name, part in predictions.items():
        assert replay[name].image_ids == tuple(image.image_id for image in part.images)
        assert replay[name].lesion_ids == tuple(image.lesion_id for image in part.images)
        assert np.array_equal(replay[name].labels, part.labels)
        assert np.abs(replay[name].features - part.features).max() < 0.02


def test_the_drift_reference_is_what_the_network_says_of_the_validation_images(
    write: Write, predictions: dict[str, Predictions], tmp_path: Path
) -> None:
    reference = DriftReference.load(write(tmp_path / "model").file(DRIFT_FILE))
    validation = predictions["validation"]
    assert reference.statistics == pytest.approx(validation.statistics, rel=1e-3, abs=1e-3)
    assert np.array_equal(reference.logits, validation.logits)
    assert np.array_equal(reference.labels, validation.labels)


def test_the_head_says_the_same_of_replayed_features(
    write: Write,
    network: LesionClassifier,
    predictions: dict[str, Predictions],
    tmp_path: Path,
) -> None:
    replay = load_replay(write(tmp_path / "model").file(REPLAY_FILE))["train"]
    with torch.inference_mode():
        logits = network.eval().classifier(torch.from_numpy(replay.features)).numpy()
    assert (logits.argmax(axis=1) == predictions["train"].logits.argmax(axis=1)).mean() >= 0.95
    assert np.abs(logits - predictions["train"].logits).mean() < 0.05


@pytest.mark.parametrize("shipped", [True, False])
def test_an_int8_graph_is_kept_only_if_it_answers_as_well(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: bool
) -> None:
    # Whether it does depends on the images; both outcomes have to work.
    monkeypatch.setattr(quantization, "MIN_AGREEMENT", 0.0 if shipped else 1.1)
    monkeypatch.setattr(quantization, "MAX_LOSS", 1.0)
    package = write(tmp_path / "model", int8=True)
    verdict: Any = package.manifest.metrics["int8"]
    assert verdict["shipped"] is shipped
    assert (INT8_GRAPH_FILE in package) is shipped
    assert (tmp_path / "model" / INT8_GRAPH_FILE).exists() is shipped
    assert verdict["reason"] in package.file(CARD_FILE).read_text()
