"""The wire contract of retraining and of rollouts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from serve_app.schemas import Exact
from serve_app.upload_schemas import Missing

Mode = Literal["head", "full"]


class RetrainRequest(Exact):
    """What kind of retraining is asked for."""

    mode: Mode | None = Field(
        None,
        description="head: only the last layer, in seconds. full: the whole network. "
        "null leaves it to configs/training.yaml",
    )


class Run(Exact):
    """A retraining. Times are ISO 8601."""

    id: int
    name: str = Field(description="of its folder, and of its run in MLflow")
    state: Literal["queued", "running", "promoted", "refused", "failed", "cancelled"]
    mode: Mode
    trigger: Literal["threshold", "manual"]
    actor: str
    phase: str
    progress: float = Field(ge=0, le=1)
    epoch: int | None
    epochs: int | None
    eta_s: float | None = Field(description="seconds until it is done, as far as it can tell")
    metrics: dict[str, Any] = Field(description="so far")
    new_images: int
    images: int
    champion_version: str | None
    challenger_version: str | None
    decision: dict[str, Any] | None = Field(description="of the promotion gate, rule by rule")
    reason: str | None = Field(description="why it ended as it did")
    attempts: int
    cancel_requested: bool
    created: str
    started: str | None
    finished: str | None
    heartbeat: str | None


class Rollout(Exact):
    """A move of all replicas to another version. Times are ISO 8601."""

    id: int
    kind: Literal["promotion", "rollback", "automatic_rollback"]
    run_id: int | None
    from_version: str
    to_version: str
    state: Literal["shadowing", "switching", "observing", "completed", "reverted", "failed"]
    actor: str
    shadow: dict[str, Any] | None
    observation: dict[str, Any] | None
    autoscaling: dict[str, Any] | None
    gate_hash: str | None
    reason: str | None
    created: str
    updated: str
    finished: str | None


class RetrainStatus(Exact):
    """What the trainer is doing."""

    state: Literal["idle", "running"]
    run: Run | None = Field(description="the retraining under way")
    last: Run | None = Field(description="the newest one that is over")
    waiting: Missing
    rollout: Rollout | None = Field(description="the newest one")


class RunPage(Exact):
    """Some of the retrainings, the newest first, and how many there were in all."""

    runs: list[Run]
    total: int
