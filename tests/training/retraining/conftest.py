"""A retrainer over a real catalogue and a real registry; Serve and learners as each test likes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import FOLDER
from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from data.catalogue.uploads import NewUpload, Uploads
from models.configuration import read_config
from models.registry import Registry
from tests.training.promotion.conftest import (  # noqa: F401
    database,
    driver,
    gate,
    registry,
    registry_folder,
    reports,
    rollouts,
    serve,
    stopped,
)
from tests.training.retraining.learners import EndlessLearner, InstantLearner, storage_of
from training.promotion.gate_file import GateFile
from training.retraining.learner import Assignment
from training.retraining.learner_process import LearnerProcess
from training.retraining.retrainer import Places, Retrainer
from training.settings import TrainingSettings

MakeRetrainer = Callable[..., Retrainer]
Upload = Callable[..., list[str]]


@pytest.fixture
def uploads(database: Database) -> Uploads:  # noqa: F811
    return Uploads(database)


@pytest.fixture
def runs(database: Database) -> Runs:  # noqa: F811
    return Runs(database)


@pytest.fixture
def upload(uploads: Uploads) -> Upload:
    """Catalogues images that differ in everything; says their ids."""
    count = 0

    def add(labels: list[str | None]) -> list[str]:
        nonlocal count
        ids = []
        for label in labels:
            count += 1
            digest = hashlib.sha256(str(count).encode())
            new = NewUpload(
                content_hash=digest.hexdigest(),
                perceptual_hash=digest.digest(),
                image_key=f"{digest.hexdigest()[:2]}/{digest.hexdigest()}.jpg",
                media_type="image/jpeg",
                width=600,
                height=450,
                size_bytes=1000,
                label=label,
            )
            added = uploads.add(new, "tester", lambda unseen: None, forget=lambda name: None)
            ids.append(added.upload.id)
        return ids

    return add


@pytest.fixture
def make_retrainer(
    uploads: Uploads,
    runs: Runs,
    rollouts: Rollouts,  # noqa: F811
    registry: Registry,  # noqa: F811
    gate: GateFile,  # noqa: F811
    stopped: threading.Event,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeRetrainer:
    """Takes fields of `retrain:` and what starts learners."""
    for learner in (InstantLearner, EndlessLearner):
        monkeypatch.setattr(learner, "assignments", [])
    settings = read_config(FOLDER / "training.yaml", TrainingSettings)

    def make(
        start: Callable[[Assignment], LearnerProcess] = InstantLearner, **changes: object
    ) -> Retrainer:
        fields = {"poll_s": 0.01, "lease_s": 0.04, **changes}
        retrain = settings.retrain.model_copy(update=fields)
        return Retrainer(
            uploads,
            runs,
            rollouts,
            registry,
            settings.model_copy(update={"retrain": retrain}),
            gate,
            Places(f"sqlite:///{tmp_path}/catalogue.db", str(tmp_path), storage_of(tmp_path)),
            stopped,
            start,
        )

    return make
