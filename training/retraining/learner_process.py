"""The learner as a Ray task: started, watched and ended by the trainer."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from models.errors import DermServeError
from training.retraining.learner import Assignment, learn

NICE = 10
"""As the workers: predictions go first."""


def _learn(assignment: Assignment) -> DermServeError | None:
    os.nice(NICE)
    return learn(assignment)


class LearnerLost(Exception):
    """The process ended without an answer: killed, out of memory, or its machine is gone."""


class LearnerProcess:
    """One process at work on one assignment.

    Args:
        assignment: what it does.
    """

    def __init__(self, assignment: Assignment) -> None:
        # No CPU is set aside for it: what computes for long are the workers of Ray Train. Ray must
        # not start it again by itself, because the lease has to be taken anew. It ends after one
        # call, or an idle process would keep torch's gigabyte.
        task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(_learn)
        self._answer = task.remote(assignment)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within the time."""
        ready, _ = ray.wait([self._answer], timeout=timeout_s)
        return bool(ready)

    def result(self) -> DermServeError | None:
        """What `learn` returned, once it has ended.

        Raises:
            LearnerLost: if it was killed.
        """
        try:
            error: DermServeError | None = ray.get(self._answer, timeout=10)
        except (RayError, GetTimeoutError) as lost:
            raise LearnerLost(str(lost)) from lost
        return error

    def kill(self) -> None:
        """End it at once; the workers of Ray Train that belong to it end too."""
        ray.cancel(self._answer, force=True, recursive=True)
