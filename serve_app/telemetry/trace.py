"""A trace, as work carries it: the span whose children the next stage makes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from opentelemetry.trace import SpanContext

from serve_app.telemetry.trace_context import parse, wire

WireTrace = tuple[str, str, float]
"""`traceparent`, `tracestate` and the seconds that the work waited before it was sent."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Of work whose request is recorded; others have none."""

    parent: SpanContext
    since: float = field(default_factory=time.perf_counter)
    """When the work came to this stage, in seconds on the clock of `time.perf_counter`."""
    hop_wait_s: float | None = None
    """How long it waited in the queue before this stage, in another process."""

    def to_wire(self) -> WireTrace:
        """For a message that leaves now."""
        return (*wire(self.parent), time.perf_counter() - self.since)

    @classmethod
    def from_wire(cls, sent: WireTrace) -> Trace | None:
        """Of a message that has come now."""
        traceparent, tracestate, waited_s = sent
        parent = parse([traceparent], [tracestate] if tracestate else [])
        return None if parent is None else cls(parent, hop_wait_s=waited_s)
