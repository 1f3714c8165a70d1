"""The retrainer: starts a retraining when enough has been uploaded, and sees it to its end.

How far a run is stands in the catalogue. A retrainer whose process died is followed by another,
which takes the run's lease over once it has run out and goes on from there.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data.catalogue.rollouts import Rollout, Rollouts
from data.catalogue.run import FinalState
from data.catalogue.runs import LeaseLost, Run, Runs
from data.catalogue.upload_counts import UploadCounts
from data.catalogue.uploads import Uploads
from models.errors import (
    CatalogueUnavailable,
    DermServeError,
    InvalidDataset,
    ModelUnavailable,
    NotFound,
    RolloutActive,
    RunActive,
)
from models.registry import Registry
from training.promotion.gate_file import GateFile
from training.promotion.handover import begin_after
from training.promotion.rollout import Stopped
from training.retraining.learner import Assignment, package_folder
from training.retraining.learner_process import LearnerLost, LearnerProcess
from training.retraining.waiting import Waiting
from training.settings import TrainingSettings

logger = logging.getLogger("ray.serve")

CANCEL_GRACE_S = 30.0
"""For the step under way; after it, a cancelled learner is killed."""


_TRANSIENT = (CatalogueUnavailable, ModelUnavailable, LeaseLost, RolloutActive)
"""What may be over at the next attempt."""


@dataclass(frozen=True)
class Places:
    """Where a run finds and leaves its files."""

    catalogue: str
    """URL."""
    images: str
    """URL."""
    storage: Path
    """Folder of the runs."""


def _came_after(counts: UploadCounts, run: Run) -> bool:
    """Whether something new was uploaded or labelled since a run ended."""
    newest = counts.newest_change
    return newest is not None and run.finished is not None and newest > run.finished


class Retrainer:
    """Carries the active run through; one at a time, from one thread.

    Args:
        uploads, runs, rollouts: of the catalogue.
        registry: of the models.
        settings: `retrain` of them is what is asked for here.
        gate: judges the challengers.
        places: of the files.
        start: starts a learner.
        stopped: set when the trainer shuts down.
    """

    def __init__(
        self,
        uploads: Uploads,
        runs: Runs,
        rollouts: Rollouts,
        registry: Registry,
        settings: TrainingSettings,
        gate: GateFile,
        places: Places,
        stopped: threading.Event,
        start: Callable[[Assignment], LearnerProcess] = LearnerProcess,
    ) -> None:
        self._uploads = uploads
        self._runs = runs
        self._rollouts = rollouts
        self._registry = registry
        self._settings = settings
        self._gate = gate
        self._places = places
        self._stopped = stopped
        self._start = start

    def step(self) -> None:
        """Start a run if one is due, and see the active one to its end.

        Raises:
            Stopped: if the trainer shuts down meanwhile.
            CatalogueUnavailable, ModelUnavailable, LeaseLost, RolloutActive: a later step tries
                again.
        """
        run = self._runs.active()
        if run is None:
            self._clear_folders()
            run = self._request_due()
        if run is None:
            return
        retrain = self._settings.retrain
        owner = uuid.uuid4().hex
        claimed = self._runs.claim(run.id, owner, retrain.lease_s)
        if claimed is None:
            return  # another trainer is alive, or a dead one's lease has not run out
        try:
            if claimed.decision is None:
                self._learn(claimed, owner)
            self._conclude(self._runs.get(run.id), owner)
        except LearnerLost as lost:
            # Its lease runs out, and a later step begins the next attempt.
            logger.error("The learner of %s was lost: %s", claimed.name, lost)
            if claimed.attempts >= retrain.max_attempts:
                self._finish(
                    claimed,
                    owner,
                    "failed",
                    f"Its process was lost {claimed.attempts} times, at last with: {lost} The logs "
                    "of the trainer say more; POST /retrain tries again.",
                )
        except _TRANSIENT:
            raise
        except DermServeError as error:
            # What would be the same at the next attempt, such as a version name that is taken.
            self._finish(claimed, owner, "failed", error.message)

    def _request_due(self) -> Run | None:
        retrain = self._settings.retrain
        counts = self._uploads.counts()
        if not Waiting.of(counts, retrain).over:
            return None
        last = next(iter(self._runs.history(limit=1).items), None)
        if last is not None and last.challenger_version is None and not _came_after(counts, last):
            # It ended before it took these images, and would again: the next upload or POST
            # /retrain makes the next attempt.
            return None
        try:
            return self._runs.request(retrain.mode_of(), "threshold", "trainer")
        except RunActive:  # asked for by hand a moment ago
            return self._runs.active()

    def _learn(self, run: Run, owner: str) -> None:
        """Have a process make the challenger and the gate's decision.

        Raises:
            LearnerLost: if the process died.
        """
        if run.cancel_requested:
            self._finish(run, owner, "cancelled", "Cancelled before it began.")
            return
        if run.attempts > self._settings.retrain.max_attempts:
            self._finish(run, owner, "failed", "The trainer was lost too often during this run.")
            return
        if run.challenger_version is None:
            champion = self._registry.champion()
            images = self._uploads.trainable()
            if not images:
                raise InvalidDataset("There is no labelled upload to learn from. Upload some.")
            version = self._registry.next_version()
            self._runs.snapshot(run.id, owner, images, champion.version, version)
            run = self._runs.get(run.id)
        assert run.champion_version is not None
        assert run.challenger_version is not None
        champion_folder = self._registry.resolve(run.champion_version)
        process = self._start(
            Assignment(
                run_id=run.id,
                owner=owner,
                version=run.challenger_version,
                champion=champion_folder,
                catalogue=self._places.catalogue,
                images=self._places.images,
                storage=self._places.storage,
                settings=self._settings,
                gate=self._gate,
            )
        )
        error = self._watch(process, run, owner)
        if error is None:
            return
        if isinstance(error, _TRANSIENT):
            raise LearnerLost(error.message)
        if self._runs.get(run.id).cancel_requested:
            self._finish(run, owner, "cancelled", "Cancelled on request.")
        else:
            self._finish(run, owner, "failed", error.message)

    def _watch(self, process: LearnerProcess, run: Run, owner: str) -> DermServeError | None:
        """Renew the lease while the learner works; end it if it does not heed a cancellation."""
        retrain = self._settings.retrain
        asked_s: float | None = None
        try:
            while not process.wait(retrain.poll_s):
                if self._stopped.is_set():
                    raise Stopped
                now_s = time.monotonic()
                if self._runs.beat(run.id, owner).cancel_requested:
                    asked_s = now_s if asked_s is None else asked_s
                    if now_s - asked_s > CANCEL_GRACE_S:
                        process.kill()
                        return DermServeError("Cancelled; it did not stop by itself.")
        except BaseException:
            process.kill()
            raise
        return process.result()

    def _conclude(self, run: Run, owner: str) -> None:
        """Register the challenger, roll it out if the gate lets it pass, and end the run."""
        if not run.active or run.decision is None:
            return
        assert run.challenger_version is not None
        if run.cancel_requested and self._rollouts.of_run(run.id) is None:
            self._finish(run, owner, "cancelled", "Cancelled on request.")
            return
        passed, reason = bool(run.decision["passed"]), str(run.decision["reason"])
        self._runs.report(run.id, owner, phase="registering", progress=0.97)
        self._registry.register(package_folder(self._places.storage, run))
        self._registry.record_verdict(
            run.challenger_version, "passed" if passed else "refused", reason
        )
        if not passed:
            self._finish(run, owner, "refused", reason)
            return
        rollout = self._rollouts.of_run(run.id) or self._begin_rollout(run, owner)
        if rollout is None:
            return
        while rollout.state in ("shadowing", "switching"):
            if self._stopped.wait(self._settings.retrain.poll_s):
                raise Stopped
            self._runs.report(run.id, owner, phase=rollout.state, progress=0.98)
            rollout = self._rollouts.get(rollout.id)
        if rollout.state in ("observing", "completed"):
            self._finish(run, owner, "promoted", reason)
        else:
            self._refuse(run, owner, rollout.reason or "It was not rolled out.")

    def _refuse(self, run: Run, owner: str, why: str) -> None:
        """End a run whose challenger the gate let pass and something else stopped."""
        assert run.challenger_version is not None
        self._registry.record_verdict(run.challenger_version, "refused", why)
        self._finish(run, owner, "refused", why)

    def _begin_rollout(self, run: Run, owner: str) -> Rollout | None:
        """Wait for a rollout that is under way, then begin this run's; None ends the run."""
        assert run.challenger_version is not None
        while (active := self._rollouts.active()) is not None and active.state != "observing":
            if self._stopped.wait(self._settings.retrain.poll_s):
                raise Stopped
            self._runs.report(run.id, owner, phase="waiting", progress=0.97)
            if self._runs.beat(run.id, owner).cancel_requested:
                self._finish(run, owner, "cancelled", "Cancelled on request.")
                return None
        champion = self._registry.champion().version
        if champion != run.champion_version:
            self._refuse(
                run,
                owner,
                f"The champion is version {champion} by now; the gate has compared with "
                f"{run.champion_version}. POST /retrain begins anew from {champion}.",
            )
            return None
        return begin_after(
            self._rollouts,
            active,
            "promotion",
            from_version=champion,
            to_version=run.challenger_version,
            actor="trainer",
            state="shadowing",
            run_id=run.id,
            gate_hash=self._gate.hash,
        )

    def _clear_folders(self) -> None:
        """Remove what runs that are over have left: copies of uploads, which may be deleted.

        What is worth keeping of them is in the registry and the catalogue.
        """
        for folder in self._places.storage.glob("retrain-*"):
            number = folder.name.removeprefix("retrain-")
            with suppress(NotFound):  # of another catalogue
                if number.isdecimal() and not self._runs.get(int(number)).active:
                    shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, run: Run, owner: str, state: FinalState, reason: str) -> None:
        logger.info("Run %s: %s. %s", run.name, state, reason)
        self._runs.report(run.id, owner, phase="done", progress=1.0, eta_s=0.0)
        self._runs.finish(run.id, owner, state, reason)
