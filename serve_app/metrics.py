"""Metrics: what a replica tells Prometheus of the work that passes through it.

Times and batch sizes are observed as they happen, an observation a batch where one does. What
queues count exactly (`QueueCounts`) is carried over every few seconds, so that counting costs
nothing on the path of a request. Ray adds the application, the deployment and the replica, and
its agents export everything under the prefix `ray_`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ray.serve.metrics import Counter, Gauge, Histogram

from serve_app.batching import QueueCounts
from serve_app.refresher import Refresher

_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0]
_SIZES = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
# Ray means a tuple of any length and says of one.
_STAGE: Any = ("stage",)
_STAGE_AND_PHASE: Any = ("stage", "phase")
_STAGE_AND_OUTCOME: Any = ("stage", "outcome")

Phase = Literal["decode", "forward", "total"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stage has counted so far."""

    queue: QueueCounts
    waiting: int
    rejected: int = 0
    sent_again: int = 0


def begin_at_zero(counter: Counter, tags: dict[str, str]) -> None:
    """Export a counter before it has counted anything.

    Prometheus sees what was added between two scrapes. A counter that first appears with the
    errors of a bad minute shows none of them.
    """
    counter._record(0.0, tags)  # `inc` takes nothing but more than nothing


class StageMetrics:
    """The metrics of one stage in one replica.

    Args:
        stage: name of the stage; colocated ones share a replica.
        read: what to carry over.
    """

    def __init__(self, stage: str, read: Callable[[], Reading]) -> None:
        self._read = read
        self._seconds = Histogram(
            "dermserve_phase_seconds",
            "Seconds that images took: decode and forward of one batch, total of a request.",
            boundaries=_SECONDS,
            tag_keys=_STAGE_AND_PHASE,
        )
        self._batch = Histogram(
            "dermserve_batch_images",
            "Images in one batch.",
            boundaries=_SIZES,
            tag_keys=_STAGE,
        )
        self._images = Counter(
            "dermserve_images",
            "Images that left the stage's queue: taken by the next step, expired, cancelled, or "
            "rejected before they were queued; sent_again counts what went to another replica.",
            tag_keys=_STAGE_AND_OUTCOME,
        )
        self._waited = Counter(
            "dermserve_queue_wait_seconds",
            "Seconds that the images taken had waited, in all.",
            tag_keys=_STAGE,
        )
        self._batches = Counter(
            "dermserve_batches", "Batches that left the stage's queue.", tag_keys=_STAGE
        )
        self._busy = Counter(
            "dermserve_busy_seconds",
            "Seconds of all observations of a phase, exactly; the sums of Ray's histograms are "
            "estimates.",
            tag_keys=_STAGE_AND_PHASE,
        )
        self._waiting = Gauge(
            "dermserve_waiting_images",
            "Images in the stage's queue now; of the ingress, those admitted and not answered.",
            tag_keys=_STAGE,
        )
        for metric in (
            *(self._seconds, self._batch, self._images, self._waited),
            *(self._batches, self._busy, self._waiting),
        ):
            metric.set_default_tags({"stage": stage})  # each its own, because Serve adds to it
        self._spent_s: dict[Phase, float] = {}
        self._phases: dict[Phase, dict[str, str]] = {
            "decode": {"phase": "decode"},
            "forward": {"phase": "forward"},
            "total": {"phase": "total"},
        }
        self._before = Reading(QueueCounts(), 0)
        self._refresher = Refresher(self.flush)
        for outcome in ("taken", "expired", "cancelled", "rejected", "sent_again"):
            begin_at_zero(self._images, {"outcome": outcome})

    def observe(self, phase: Phase, seconds: float) -> None:
        """One duration."""
        self._seconds.observe(seconds, self._phases[phase])
        self._spent_s[phase] = self._spent_s.get(phase, 0.0) + seconds
        self.start()

    def start(self) -> None:
        """Begin to carry counts over, if that has not begun; on the event loop."""
        self._refresher.start()

    def observe_batch(self, images: int, phase: Phase, seconds: float) -> None:
        """One batch and how long it took."""
        self._batch.observe(images)
        self.observe(phase, seconds)

    def flush(self) -> None:
        """Carry over what was counted since the last time."""
        now, before = self._read(), self._before
        queue, was = now.queue, before.queue
        for outcome, value, earlier in (
            ("taken", queue.taken, was.taken),
            ("expired", queue.expired, was.expired),
            ("cancelled", queue.cancelled, was.cancelled),
            ("rejected", now.rejected, before.rejected),
            ("sent_again", now.sent_again, before.sent_again),
        ):
            if value > earlier:
                self._images.inc(value - earlier, {"outcome": outcome})
        if queue.waited_s > was.waited_s:
            self._waited.inc(queue.waited_s - was.waited_s)
        if queue.batches > was.batches:
            self._batches.inc(queue.batches - was.batches)
        for phase, seconds in self._spent_s.items():
            if seconds > 0:
                self._busy.inc(seconds, self._phases[phase])
        self._spent_s.clear()
        self._waiting.set(now.waiting)
        self._before = now
