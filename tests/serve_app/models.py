"""Packages and models that the tests of replicas swap."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from models.novelty import STATISTICS, NoveltyDetector
from models.package import MANIFEST_FILE, Manifest, ModelPackage
from models.registered_package import hash_of
from serve_app.classification import ServedModel
from serve_app.engines.base import Engine, EngineInfo, Images, Outputs
from serve_app.loaded_model import LoadedModel


def copy_of(
    package: ModelPackage,
    folder: Path,
    version: str,
    change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
) -> ModelPackage:
    """The same network in another folder, under another version."""
    shutil.copytree(package.folder, folder)
    manifest = change(package.manifest.model_copy(update={"version": version}))
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return ModelPackage.load(folder)


class FixedEngine:
    """Says the same class of every image."""

    info = EngineInfo(name="fixed", device="cpu", precision="f32", lanes=1)
    max_piece = 4

    def __init__(self, code: str = "nv") -> None:
        self.logits: npt.NDArray[np.float32] = np.zeros(len(CLASSES), np.float32)
        self.logits[CLASSES.index(code)] = 5
        self.sizes: list[int] = []

    def forward(self, images: Images) -> Outputs:
        self.sizes.append(len(images))
        rows = np.tile(self.logits, (len(images), 1))
        return Outputs(rows, np.zeros((len(images), STATISTICS), np.float32))


def loaded(package: ModelPackage, engine: Engine) -> LoadedModel:
    """A package that an engine of the test's answers for."""
    novelty = NoveltyDetector(
        np.zeros(STATISTICS, np.float32), np.eye(STATISTICS, dtype=np.float32)
    )
    served = ServedModel.of(package.manifest)
    return LoadedModel(package, hash_of(package), engine, novelty, served)
