"""The trace context: which trace a client's request belongs to, as the W3C has it.

https://www.w3.org/TR/trace-context/: the headers `traceparent` and `tracestate`, over gRPC the
metadata of these names. Whatever is not valid is as good as none, and never an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()

# They warn of what a client has sent, in its own words.
for _name in ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def context_of_headers(headers: Sequence[tuple[bytes, bytes]]) -> SpanContext | None:
    """The context that the raw headers of an HTTP request carry, names in lower case."""
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:
        return None
    states = [value.decode("latin-1") for name, value in headers if name == b"tracestate"]
    return parse([parents[0].decode("latin-1")], states)


def context_of_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> SpanContext | None:
    """The context that the metadata of a gRPC call carries."""
    pairs = [(name, value) for name, value in metadata if isinstance(value, str)]
    return parse(
        [value for name, value in pairs if name == "traceparent"],
        [value for name, value in pairs if name == "tracestate"],
    )


def parse(traceparents: list[str], tracestates: list[str]) -> SpanContext | None:
    """The context of the caller's span.

    Args:
        traceparents: every header of that name; several are as invalid as a malformed one.
        tracestates: likewise; several are one, in their order.

    Returns:
        None if the request begins a trace of its own.
    """
    if len(traceparents) != 1:
        return None
    carrier = {"traceparent": traceparents, "tracestate": tracestates}
    context = get_current_span(_PROPAGATOR.extract(carrier)).get_span_context()
    return context if context.is_valid else None


def wire(context: SpanContext) -> tuple[str, str]:
    """`traceparent` and `tracestate` of a context; the second may be empty."""
    parent = (
        f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-"
        f"{context.trace_flags:02x}"
    )
    return parent, context.trace_state.to_header()


def as_parent(context: SpanContext) -> NonRecordingSpan:
    """The span of another process, as the parent of one here."""
    return NonRecordingSpan(context)
