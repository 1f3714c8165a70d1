"""Work: one image on its way through the chain, and the terms on which it travels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from models.errors import DeadlineExceeded
from serve_app.telemetry.trace import Trace

Payload = TypeVar("Payload")
Other = TypeVar("Other")


class Priority(IntEnum):
    """Which work goes first; the lower number does, in every queue."""

    INTERACTIVE = 0
    """Somebody waits for the answer."""
    BULK = 1
    """A series that may take its time, and gives way."""


@dataclass(frozen=True, slots=True)
class Work(Generic[Payload]):
    """One payload and its terms."""

    payload: Payload
    priority: Priority = Priority.INTERACTIVE
    deadline: float | None = None
    """On the clock of `time.monotonic`, in seconds; nobody waits for the answer after it."""
    request_id: str = ""
    """Of the request that the payload came with, for the log."""
    trace: Trace | None = None
    """Where its spans belong; None unless the request is recorded."""

    def of(self, payload: Other) -> Work[Other]:
        """The same work at its next stage."""
        return Work(payload, self.priority, self.deadline, self.request_id, self.trace)


def expired() -> DeadlineExceeded:
    """The error of work whose deadline has passed."""
    return DeadlineExceeded(
        "There was no answer before the deadline. The server is busy; send the request again "
        "later, or with more time."
    )
