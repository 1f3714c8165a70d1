"""Small packages: real manifests around a few bytes of weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from models.classes import CLASSES
from models.package import (
    CARD_FILE,
    DRIFT_FILE,
    GRAPH_FILE,
    GRAPH_WEIGHTS_FILE,
    MANIFEST_FILE,
    NOVELTY_FILE,
    REFERENCE_FILE,
    REPLAY_FILE,
    WEIGHTS_FILE,
    DecisionRules,
    InputContract,
    Manifest,
    OperatingPoint,
    SplitRecord,
    sha256_of,
)

PACKAGE_FILES = (
    WEIGHTS_FILE,
    GRAPH_FILE,
    GRAPH_WEIGHTS_FILE,
    NOVELTY_FILE,
    REPLAY_FILE,
    REFERENCE_FILE,
    DRIFT_FILE,
    CARD_FILE,
    "report.html",
    "report.json",
)
"""What every package of a trained network holds beside its manifest."""


def write_small_package(folder: Path, version: str, accuracy: float = 0.5) -> Path:
    """A package that verifies and cannot classify; other versions have other weights."""
    folder.mkdir(parents=True)
    seed = sum(version.encode())
    weights = np.random.default_rng(seed).normal(size=100).astype(np.float32)
    save_file({"weights": weights}, folder / WEIGHTS_FILE)
    (folder / CARD_FILE).write_text(f"# Model card of {version}\n")
    counts = dict.fromkeys(CLASSES, 1)
    point = OperatingPoint(
        threshold=0.5, validation_sensitivity=0.9, test_sensitivity=0.9, test_specificity=0.9
    )
    manifest = Manifest(
        version=version,
        created=datetime(2026, 1, 1, tzinfo=timezone.utc),
        classes=CLASSES,
        input=InputContract(),
        decision=DecisionRules(
            logit_shift=(0.0,) * len(CLASSES),
            temperature=1.0,
            melanoma=point,
            malignant=point,
            prediction_set_threshold=0.1,
            prediction_set_coverage=0.9,
            max_prediction_set=3,
            novelty_threshold=1.0,
        ),
        metrics={"test": {"balanced_accuracy": accuracy, "by_class": {}, "macro_auc": None}},
        split=SplitRecord(name="none", hash="0", train=counts, validation=counts, test=counts),
        dataset_hash="d" * 64,
        recipe={},
        licence="none",
        citation="none",
        files={name: sha256_of(folder / name) for name in (WEIGHTS_FILE, CARD_FILE)},
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a package as an attacker or a later version might."""
    path = folder / MANIFEST_FILE
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
