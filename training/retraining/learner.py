"""The learner: one retraining, from the uploads of its snapshot to the gate's decision.

It runs in a process of its own, so that torch's memory ends with it and a crash of it is only
that. Ray ends the process when the trainer that started it dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data.catalogue.database import Database
from data.catalogue.runs import Run, Runs, SnapshotImage
from data.ham10000 import LesionImage
from data.image_store import ImageStore
from models.errors import DermServeError, NotFound
from models.package import ModelPackage
from models.preprocessing import IMAGE_SIZE
from training.promotion.gate import decide
from training.promotion.gate_file import GateFile
from training.retraining.challenger import Challenger, Listener, RunProgress
from training.settings import TrainingSettings

_REPORT_S = 0.5
# What follows the run itself: the gate's resamples.
_BEFORE_GATE = 0.95


@dataclass(frozen=True)
class Assignment:
    """All that a learner has to know, wherever its process is."""

    run_id: int
    owner: str
    """Who holds the run's lease; a learner whose lease was taken stops."""
    version: str
    """Name of the challenger."""
    champion: Path
    """Folder of the package that the run starts from."""
    catalogue: str
    """URL of the catalogue."""
    images: str
    """URL of the image store."""
    storage: Path
    """Folder of the runs."""
    settings: TrainingSettings
    gate: GateFile


def package_folder(storage: Path, run: Run) -> Path:
    """Where a run leaves the challenger's package."""
    return storage / run.name / "package"


def learn(assignment: Assignment) -> DermServeError | None:
    """Do a run up to the gate's decision, which the catalogue then holds.

    A run that an earlier process began goes on.

    Returns:
        Why there is no decision; None if there is one.
    """
    try:
        runs = Runs(Database(assignment.catalogue))
        run = runs.get(assignment.run_id)
        uploads = _fetch(
            runs.snapshot_of(run.id),
            ImageStore(assignment.images),
            assignment.storage / run.name / "uploads",
        )
        reporter = _Reporter(runs, assignment)
        challenger = _train(run, uploads, assignment, reporter.on_progress, reporter.should_stop)
        runs.report(run.id, assignment.owner, phase="gate", progress=_BEFORE_GATE)
        decision = decide(
            challenger.champion_test,
            challenger.test,
            challenger.champion_uploads,
            run.new_images,
            assignment.gate,
            learned=_learned(runs, run),
        )
        runs.decide(run.id, assignment.owner, decision.model_dump(mode="json"))
    except DermServeError as error:
        return error
    return None


def _train(
    run: Run,
    uploads: Sequence[LesionImage],
    assignment: Assignment,
    progress: Listener,
    should_stop: Callable[[], bool],
) -> Challenger:
    # Torch and what comes with it take seconds; the catalogue could have refused before.
    from training.retraining.full_run import run_full
    from training.retraining.head_run import run_head

    champion = ModelPackage.load(assignment.champion)
    settings, output = assignment.settings, package_folder(assignment.storage, run)
    base = settings.retrain.base_images
    if settings.retrain.mode_of(run.mode) == "head" or base is None:
        return run_head(
            champion,
            uploads,
            version=assignment.version,
            output=output,
            storage=assignment.storage,
            name=run.name,
            settings=settings.retrain,
            progress=progress,
            should_stop=should_stop,
        )
    return run_full(
        champion,
        uploads,
        base=base,
        version=assignment.version,
        output=output,
        storage=assignment.storage,
        name=run.name,
        settings=settings,
        progress=progress,
        should_stop=should_stop,
    )


def _learned(runs: Runs, run: Run) -> frozenset[tuple[str, str]]:
    """Uploads, with their labels, that the champion has learned from."""
    made_by = None if run.champion_version is None else runs.of_version(run.champion_version)
    if made_by is None:
        return frozenset()
    return frozenset((image.upload_id, image.label) for image in runs.snapshot_of(made_by.id))


def _fetch(
    images: Sequence[SnapshotImage], store: ImageStore, folder: Path
) -> tuple[LesionImage, ...]:
    """Copies of the images that are still there; what was deleted since is not learned from."""
    folder.mkdir(parents=True, exist_ok=True)
    fetched = []
    for image in images:
        if not image.present:
            continue
        try:
            path = store.fetch(image.image_key, folder)
        except NotFound:  # deleted in this moment
            continue
        with Image.open(path) as header:
            sharp = min(header.size) >= IMAGE_SIZE
        fetched.append(
            LesionImage(
                image_id=image.upload_id,
                lesion_id=image.lesion_id or f"upload-{image.upload_id}",
                diagnosis=image.label,
                diagnosis_source="upload",
                path=path,
                sharp=sharp,
            )
        )
    return tuple(fetched)


class _Reporter:
    """Carries a run's progress into the catalogue, and a wish to cancel it out of there."""

    def __init__(self, runs: Runs, assignment: Assignment) -> None:
        self._runs = runs
        self._run_id = assignment.run_id
        self._owner = assignment.owner
        self._started = time.monotonic()
        self._reported = self._asked = 0.0
        self._phase = ""
        self._stop = False

    def on_progress(self, progress: RunProgress) -> None:
        now = time.monotonic()
        if progress.phase == self._phase and now - self._reported < _REPORT_S:
            return
        self._phase, self._reported = progress.phase, now
        share = _BEFORE_GATE * progress.progress
        elapsed_s = now - self._started
        self._runs.report(
            self._run_id,
            self._owner,
            phase=progress.phase,
            progress=share,
            epoch=progress.epoch,
            epochs=progress.epochs,
            # The first phases say little about the pace of the later ones.
            eta_s=elapsed_s * (1 - share) / share if share > 0.1 else None,
            metrics=dict(progress.metrics),
        )

    def should_stop(self) -> bool:
        now = time.monotonic()
        if not self._stop and now - self._asked >= _REPORT_S:
            self._asked = now
            self._stop = self._runs.beat(self._run_id, self._owner).cancel_requested
        return self._stop
