"""Packages that can be watched: a novelty detector and a drift reference of random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.classes import CLASSES
from models.drift_reference import DriftReference
from models.novelty import STATISTICS, NoveltyDetector
from models.package import DRIFT_FILE, NOVELTY_FILE, ModelPackage, sha256_of
from tests.models.packages import edit_manifest, write_small_package


def reference_of(images: int, seed: int = 0) -> DriftReference:
    """Statistics and logits as `sample_of` draws them, and labels that the logits promise."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (images, len(CLASSES))).astype(np.float32)
    # The largest of logits with Gumbel noise is a draw from their softmax.
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    statistics = random.normal(size=(images, STATISTICS)).astype(np.float32)
    return DriftReference(statistics, logits, labels)


def write_watched_package(folder: Path, version: str, images: int = 150) -> ModelPackage:
    """A package of which drift can be told; nothing below a novelty of 2 is out of distribution."""
    write_small_package(folder, version)
    NoveltyDetector(np.zeros(STATISTICS, np.float32), np.eye(STATISTICS, dtype=np.float32)).save(
        folder / NOVELTY_FILE
    )
    reference_of(images).save(folder / DRIFT_FILE)

    def change(document: dict) -> None:
        document["decision"]["novelty_threshold"] = 2.0
        for name in (NOVELTY_FILE, DRIFT_FILE):
            document["files"][name] = sha256_of(folder / name)

    edit_manifest(folder, change)
    return ModelPackage.load(folder)
