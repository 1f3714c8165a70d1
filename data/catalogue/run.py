"""A run of retraining as the catalogue knows it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from data.catalogue.tables import RunRow

RunState = Literal["queued", "running", "promoted", "refused", "failed", "cancelled"]
"""The first two are active; the others are final."""
FinalState = Literal["promoted", "refused", "failed", "cancelled"]
RunMode = Literal["head", "full"]
RunTrigger = Literal["threshold", "manual"]

FINAL_STATES: tuple[FinalState, ...] = get_args(FinalState)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One retraining, from its request to its end. Times are UTC."""

    id: int
    state: RunState
    mode: RunMode
    trigger: RunTrigger
    actor: str
    """Who or what requested it."""
    phase: str
    """What it does now; "" until it has begun."""
    progress: float
    """0 to 1."""
    epoch: int | None
    epochs: int | None
    eta_s: float | None
    metrics: dict[str, Any]
    """So far."""
    new_images: int
    """Uploads that no earlier run has trained on with the label they have now."""
    images: int
    """Uploads that it trains on, in all."""
    champion_version: str | None
    """The version that it starts from; None until the snapshot."""
    challenger_version: str | None
    """The version that it makes; None until the snapshot."""
    decision: dict[str, Any] | None
    """Of the promotion gate."""
    reason: str | None
    """Why it ended as it did."""
    attempts: int
    """How many owners have worked on it."""
    cancel_requested: bool
    created: datetime
    started: datetime | None
    finished: datetime | None
    heartbeat: datetime | None
    """When its owner last gave a sign of life."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"retrain-{self.id:06d}"

    @property
    def active(self) -> bool:
        """Whether it is not over."""
        return self.state not in FINAL_STATES


_FIELDS = tuple(field.name for field in fields(Run))


def run_of(row: RunRow) -> Run:
    """A row of the table as a run."""
    return Run(**{name: getattr(row, name) for name in _FIELDS})
