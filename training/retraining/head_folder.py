"""The folder of a head run: its plan, what its workers need, and the head they come to."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from data.ham10000 import LesionImage
from models.features import Features
from models.head import Head
from models.package import REPLAY_FILE, WEIGHTS_FILE, ModelPackage
from training.settings import HeadSettings
from training.stored_run import StoredRun, absolute


class HeadPlan(BaseModel):
    """What a head run is to do: `head-plan.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    settings: HeadSettings
    weights: str
    """SHA-256 of the champion's weights."""
    replay: str
    """SHA-256 of its replay features."""
    logit_shift: tuple[float, ...]
    """What the champion's training added to the logits."""
    uploads: tuple[LesionImage, ...]

    @classmethod
    def of(
        cls, champion: ModelPackage, uploads: Sequence[LesionImage], settings: HeadSettings
    ) -> HeadPlan:
        """The plan to refit a champion's head.

        Raises:
            InvalidPackage: if the champion has no weights or replay features.
        """
        champion.file(WEIGHTS_FILE), champion.file(REPLAY_FILE)
        return cls(
            settings=settings,
            weights=champion.manifest.files[WEIGHTS_FILE],
            replay=champion.manifest.files[REPLAY_FILE],
            logit_shift=champion.manifest.decision.logit_shift,
            uploads=tuple(map(absolute, uploads)),
        )

    @property
    def hash(self) -> str:
        """SHA-256 of what decides the head; images may lie elsewhere."""
        images = tuple((image.image_id, image.lesion_id, image.diagnosis) for image in self.uploads)
        rest = self.model_dump_json(exclude={"uploads"})
        return hashlib.sha256(f"{rest}{images}".encode()).hexdigest()


@dataclass(frozen=True)
class UploadFeatures:
    """What the backbone says of the uploads."""

    features: Features
    """float32, shape (uploads, 1280); zeros where an upload cannot be read."""
    readable: npt.NDArray[np.bool_]
    """Shape (uploads,)."""

    def of_readable(self, uploads: Sequence[LesionImage]) -> tuple[LesionImage, ...]:
        """Those of the uploads that could be read."""
        return tuple(image for image, ok in zip(uploads, self.readable, strict=True) if ok)

    def unreadable(self, uploads: Sequence[LesionImage]) -> tuple[str, ...]:
        """Ids of the others."""
        pairs = zip(uploads, self.readable, strict=True)
        return tuple(image.image_id for image, ok in pairs if not ok)


@dataclass(frozen=True)
class HeadFolder(StoredRun):
    """The run that refits a head."""

    def begin(self, plan: HeadPlan, champion: ModelPackage) -> None:
        """Write the plan and what workers need, after removing what another plan came to.

        Raises:
            RunNotStored: if a file cannot be written.
        """
        if self._plan.exists() and self.plan().hash == plan.hash:
            return
        with self.storing():
            # First the plan: what is left without it belongs to nothing and is written anew.
            for path in (self._plan, self._features, self._head):
                path.unlink(missing_ok=True)
            shutil.copyfile(champion.file(WEIGHTS_FILE), self.weights)
            shutil.copyfile(champion.file(REPLAY_FILE), self.replay)
        self.write(self._plan, plan)

    def plan(self) -> HeadPlan:
        """Raises: RunNotStored: if there is none, or if it is damaged."""
        with self.storing():
            return HeadPlan.model_validate_json(self._plan.read_bytes())

    @property
    def weights(self) -> Path:
        """The champion's network."""
        return self.path / WEIGHTS_FILE

    @property
    def replay(self) -> Path:
        """The champion's replay features."""
        return self.path / REPLAY_FILE

    def keep_features(self, uploads: UploadFeatures) -> None:
        """Raises: RunNotStored: if they cannot be written."""
        readable = uploads.readable.astype(np.uint8)
        self._save(self._features, {"features": uploads.features, "readable": readable})

    def features(self) -> UploadFeatures | None:
        """What was kept; None if nothing was.

        Raises:
            RunNotStored: if it is damaged.
        """
        if not self._features.exists():
            return None
        with self.storing():
            tensors = load_file(self._features)
        return UploadFeatures(tensors["features"], tensors["readable"].astype(bool))

    def finish(self, head: Head) -> None:
        """Raises: RunNotStored: if the head cannot be written."""
        self._save(self._head, {"weight": head.weight, "bias": head.bias})

    def result(self) -> Head | None:
        """The fitted head; None if the run is not finished.

        Raises:
            RunNotStored: if it is damaged.
        """
        if not self._head.exists():
            return None
        with self.storing():
            tensors = load_file(self._head)
        return Head(tensors["weight"], tensors["bias"])

    @property
    def _plan(self) -> Path:
        return self.path / "head-plan.json"

    @property
    def _features(self) -> Path:
        return self.path / "features.safetensors"

    @property
    def _head(self) -> Path:
        return self.path / "head.safetensors"

    def _save(self, path: Path, tensors: dict[str, npt.NDArray[Any]]) -> None:
        with self.storing():
            draft = path.with_suffix(".draft")
            save_file(tensors, draft)
            draft.replace(path)
