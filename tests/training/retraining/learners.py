"""Learners that decide at once: for what the retrainer does before and after them."""

from __future__ import annotations

from pathlib import Path

from data.catalogue.database import Database
from data.catalogue.runs import Runs
from models.errors import DermServeError
from tests.models.packages import write_small_package
from training.retraining.learner import Assignment, package_folder
from training.retraining.learner_process import LearnerLost, LearnerProcess


class InstantLearner(LearnerProcess):
    """Writes a package and a decision in this process."""

    passes = True
    error: DermServeError | None = None
    lost_times = 0
    assignments: list[Assignment] = []  # noqa: RUF012

    def __init__(self, assignment: Assignment) -> None:
        self.assignments.append(assignment)
        self._lost = len(self.assignments) <= self.lost_times
        if self._lost or self.error is not None:
            return
        runs = Runs(Database(assignment.catalogue))
        run = runs.get(assignment.run_id)
        folder = package_folder(assignment.storage, run)
        if not folder.exists():
            write_small_package(folder, assignment.version)
        decision = {"passed": self.passes, "reason": "It was decided at once."}
        runs.decide(run.id, assignment.owner, decision)

    def wait(self, timeout_s: float) -> bool:
        return True

    def result(self) -> DermServeError | None:
        if self._lost:
            raise LearnerLost("killed")
        return self.error

    def kill(self) -> None:
        pass


class EndlessLearner(InstantLearner):
    """Works until it is killed."""

    killed = False

    def __init__(self, assignment: Assignment) -> None:
        self.assignments.append(assignment)

    def wait(self, timeout_s: float) -> bool:
        return False

    def kill(self) -> None:
        type(self).killed = True


def storage_of(tmp_path: Path) -> Path:
    """Folder of the runs of a test."""
    return tmp_path / "runs"
