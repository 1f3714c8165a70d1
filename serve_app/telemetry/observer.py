"""The observer: what becomes of each request, told to whoever keeps traces and logs."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from models.log_records import LOGGER, REQUEST_FIELDS, printable
from serve_app.telemetry import tracing
from serve_app.telemetry.trace import Trace
from serve_app.telemetry.trace_context import as_parent

logger = logging.getLogger(LOGGER)

GONE = 499
"""What HAProxy and Ray call the status of a request whose client has left."""


@dataclass(slots=True)
class Observed:
    """One request, while it is answered."""

    request_id: str
    span: Span | None
    """What records it; None if nothing does."""
    trace_id: str | None
    model_version: str | None = None
    """Filled in by whoever knows which model answered."""
    started: float = field(default_factory=time.perf_counter)

    def trace(self) -> Trace | None:
        """What its work carries along."""
        return None if self.span is None else Trace(self.span.get_span_context())


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. Holds no name of a file, no key, no query and no pixel."""

    protocol: str
    """`http` or `grpc`."""
    method: str
    route: str | None
    """Its template, as `/uploads/{id}`; None if there is no such route."""
    status: int
    """Of HTTP; over gRPC, that of the same error."""
    request_bytes: int | None
    """As announced; None if they were not."""
    response_bytes: int
    key_id: str | None


_CURRENT: ContextVar[Observed | None] = ContextVar("request that is answered", default=None)


def current() -> Observed | None:
    """The request that is being answered; None if nobody observes it."""
    return _CURRENT.get()


class Observer:
    """Says of each request what became of it.

    Args:
        access_log: whether a line in the log does.
    """

    def __init__(self, access_log: bool) -> None:
        self._access_log = access_log

    @property
    def watches(self) -> bool:
        """Whether anybody wants to know."""
        return self._access_log or tracing.tracer() is not None

    def tells(self, observed: Observed) -> bool:
        """Whether anybody is told of this request."""
        return self._access_log or observed.span is not None

    def begin(self, request_id: str, caller: SpanContext | None) -> Observed:
        """A request has come; the lines of the log that follow are about it.

        Args:
            request_id: that the client gave, or Serve made.
            caller: what the client says of its own span.
        """
        request_id = printable(request_id)
        tracer = tracing.tracer()
        span: Span | None = None
        if tracer is not None:
            parent = None if caller is None else set_span_in_context(as_parent(caller))
            span = tracer.start_span("request", parent, kind=SpanKind.SERVER)
            if span.is_recording():
                caller = span.get_span_context()
            else:
                span = None
        trace_id = None if caller is None else format_trace_id(caller.trace_id)
        observed = Observed(request_id, span, trace_id)
        if self.tells(observed):
            _CURRENT.set(observed)
        tell_log(request_id, caller)
        return observed

    def end(self, observed: Observed, outcome: Outcome) -> None:
        """The request is answered, or given up."""
        seconds = time.perf_counter() - observed.started
        if observed.span is not None:
            _finish(observed.span, observed, outcome)
        if self._access_log:
            _log(observed, outcome, seconds)
        _CURRENT.set(None)


def tell_log(request_id: str, context: SpanContext | None) -> None:
    """Have the lines of this request say its id and its trace."""
    fields = {"request_id": request_id} if request_id else {}
    if context is not None:
        fields["trace_id"] = format_trace_id(context.trace_id)
        fields["span_id"] = format_span_id(context.span_id)
    REQUEST_FIELDS.set(fields)


def _finish(span: Span, observed: Observed, outcome: Outcome) -> None:
    attributes: dict[str, Any] = {
        "dermserve.request_id": observed.request_id,
        "dermserve.key_id": outcome.key_id,
        "dermserve.model_version": observed.model_version,
    }
    if outcome.protocol == "grpc":
        name = (outcome.route or "").lstrip("/")
        attributes |= {"rpc.system.name": "grpc", "rpc.method": name}
    else:
        name = f"{outcome.method} {outcome.route}" if outcome.route else outcome.method
        attributes |= {
            "http.request.method": outcome.method,
            "http.route": outcome.route,
            "http.response.status_code": outcome.status,
            "http.request.body.size": outcome.request_bytes,
            "http.response.body.size": outcome.response_bytes,
        }
    span.update_name(name)
    span.set_attributes({key: value for key, value in attributes.items() if value is not None})
    if outcome.status >= 500:
        span.set_status(StatusCode.ERROR)
        span.set_attribute("error.type", str(outcome.status))
    span.end()


def _log(observed: Observed, outcome: Outcome, seconds: float) -> None:
    milliseconds = round(seconds * 1000, 3)
    logger.info(
        "%s %s %d %.1fms key=%s model=%s in=%s out=%d trace=%s",
        outcome.method,
        outcome.route or "-",
        outcome.status,
        milliseconds,
        outcome.key_id or "-",
        observed.model_version or "-",
        "-" if outcome.request_bytes is None else outcome.request_bytes,
        outcome.response_bytes,
        observed.trace_id or "-",
        extra={
            "event": "request",
            "protocol": outcome.protocol,
            "method": outcome.method,
            "route": outcome.route,
            "status": outcome.status,
            "duration_ms": milliseconds,
            "request_id": observed.request_id,
            "key_id": outcome.key_id,
            "request_bytes": outcome.request_bytes,
            "response_bytes": outcome.response_bytes,
            "model_version": observed.model_version,
        },
    )
