"""Retraining: how far it is, what came of it, and how the server is asked for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import httpx

from dermserve_client.answer import Answer, as_model
from dermserve_client.call import Call
from dermserve_client.errors import NotFound
from dermserve_client.uploads import Missing

Mode = Literal["head", "full"]

_MOST_RUNS = 200


class Run(Answer):
    """A retraining."""

    id: int
    """Grows from run to run."""
    name: str
    """Of its folder, and of its run in MLflow."""
    state: str
    """`queued`, `running`, `promoted`, `refused`, `failed` or `cancelled`."""
    mode: str
    trigger: str
    """`threshold`: enough uploads had come. `manual`: somebody asked."""
    actor: str
    phase: str
    progress: float
    """In [0, 1]."""
    epoch: int | None
    epochs: int | None
    eta_s: float | None
    """Seconds until it is done, as far as the server can tell."""
    metrics: dict[str, Any]
    """So far."""
    new_images: int
    images: int
    champion_version: str | None
    challenger_version: str | None
    decision: dict[str, Any] | None
    """Of the promotion gate, rule by rule."""
    reason: str | None
    """Why it ended as it did."""
    attempts: int
    cancel_requested: bool
    created: datetime
    started: datetime | None
    finished: datetime | None
    heartbeat: datetime | None

    @property
    def over(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state not in ("queued", "running")


class Rollout(Answer):
    """A move of all replicas to another version."""

    id: int
    kind: str
    """`promotion`, `rollback` or `automatic_rollback`."""
    run_id: int | None
    from_version: str
    to_version: str
    state: str
    """`shadowing`, `switching`, `observing`, `completed`, `reverted` or `failed`."""
    actor: str
    shadow: dict[str, Any] | None
    observation: dict[str, Any] | None
    autoscaling: dict[str, Any] | None
    gate_hash: str | None
    reason: str | None
    created: datetime
    updated: datetime
    finished: datetime | None


class RetrainStatus(Answer):
    """What the trainer is doing."""

    state: str
    """`idle` or `running`."""
    run: Run | None
    """The retraining under way."""
    last: Run | None
    """The newest one that is over."""
    waiting: Missing
    rollout: Rollout | None
    """The newest one."""


class RunPage(Answer):
    """Some of the retrainings, the newest first, and how many there were in all."""

    runs: list[Run]
    total: int


def retrain(mode: Mode | None = None) -> Call[Run]:
    """Ask for a retraining on all labelled uploads. A client never repeats that by itself.

    Args:
        mode: `head`: only the last layer, in seconds. `full`: the whole network. None leaves it
            to the server.

    Returns:
        `Run`, which has only been queued; see `follow_run`.

    Raises:
        Conflict: if a retraining is under way.
        InvalidRequest: if the server cannot retrain in this mode.
        DermServeError: their root, and of what may go wrong on the way.
    """
    return Call("POST", "/retrain", as_model(Run), body={"json": {"mode": mode}})


def cancel_retrain() -> Call[Run]:
    """Ask the retraining that is under way to stop; it does so after the step it is in.

    Returns:
        `Run`, which may not have stopped yet.

    Raises:
        Conflict: if none is under way.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call("DELETE", "/retrain", as_model(Run))


def retrain_status() -> Call[RetrainStatus]:
    """Tell what the trainer is doing, what is missing until the next run, and the last rollout.

    Returns:
        `RetrainStatus`.

    Raises:
        Unavailable: if the trainer does not answer.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call("GET", "/retrain/status", as_model(RetrainStatus), repeatable=True)


def retrain_history(*, limit: int = 20, offset: int = 0) -> Call[RunPage]:
    """List retrainings, the newest first.

    Args:
        limit: most runs, 1 to 200.
        offset: how many to skip.

    Returns:
        `RunPage`.

    Raises:
        InvalidRequest: if a number is out of its range.
        DermServeError: its root, and of what may go wrong on the way.
    """
    params = {"limit": limit, "offset": offset}
    return Call("GET", "/retrain/history", as_model(RunPage), repeatable=True, params=params)


def find_run(run_id: int) -> Call[Run]:
    """Find one of the newest 200 retrainings; raises `NotFound` if it is none of them."""

    def read(response: httpx.Response) -> Run:
        for run in RunPage.model_validate_json(response.content).runs:
            if run.id == run_id:
                return run
        raise NotFound(
            f"There is no run {run_id} among the newest {_MOST_RUNS}. See retrain_history().",
            code="not_found",
            request_id=response.headers.get("x-request-id", ""),
        )

    params = {"limit": _MOST_RUNS}
    return Call("GET", "/retrain/history", read, repeatable=True, params=params)


def told(status: RetrainStatus, run_id: int) -> Run | None:
    """The run, if a status tells of it: under way, or the last one that was."""
    runs = (status.run, status.last)
    return next((run for run in runs if run is not None and run.id == run_id), None)


def missed(status: RetrainStatus, run_id: int) -> bool:
    """Whether a status comes so late that a newer run than this one is over already."""
    return status.last is not None and status.last.id > run_id
