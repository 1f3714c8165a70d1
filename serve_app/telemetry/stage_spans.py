"""The spans of a stage: one for each request whose images it works on, however many those are.

A batch holds images of several requests, and each of those that are traced has the whole tree in
its own trace: the time of the batch is time that it has waited. Where nobody is traced, which is
the rule, all this costs one look at each item.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from opentelemetry.trace import Link, Span, SpanContext, StatusCode, Tracer, set_span_in_context

from models.errors import DermServeError
from serve_app.telemetry import tracing
from serve_app.telemetry.trace import Trace
from serve_app.telemetry.trace_context import as_parent
from serve_app.work import Work

Payload = TypeVar("Payload")
Result = TypeVar("Result")
Classify = Callable[[Sequence[Work[Any]]], Awaitable[list[Result]]]

IMAGES = "dermserve.images"
BATCH_SIZE = "dermserve.batch.size"
QUEUE_WAIT_S = "dermserve.queue.wait_s"
HOP_WAIT_S = "dermserve.hop.wait_s"


async def traced(
    stage: str, works: Sequence[Work[Any]], classify: Classify[Result]
) -> list[Result]:
    """What a stage answers, under a span for each request that is traced.

    Args:
        stage: name of the spans.
        works: as they came; the stage gets the same under its own span.
        classify: one result per item, in order.
    """
    tracer = tracing.tracer() if any(work.trace is not None for work in works) else None
    if tracer is None:
        return await classify(works)
    spans: dict[tuple[int, int], Span] = {}
    inside: list[Work[Any]] = []
    for work in works:
        if work.trace is not None:
            key = _key(work.trace)
            if key not in spans:
                spans[key] = _start(tracer, stage, work.trace)
            work = replace(work, trace=Trace(spans[key].get_span_context()))
        inside.append(work)
    try:
        results = await classify(inside)
        _describe(works, results, spans)
    except BaseException as error:
        for span in spans.values():
            span.set_attribute("error.type", type(error).__name__)
        raise
    finally:
        for span in spans.values():
            span.end()
    return results


def record(
    name: str,
    works: Sequence[Work[Any]],
    started: float,
    ended: float,
    *,
    shared: bool = False,
    **attributes: str | int | float,
) -> None:
    """Record what a stage has done to a batch, for each traced request in it.

    Args:
        name: of the spans.
        works: the batch.
        started: on the clock of `time.perf_counter`, in seconds.
        ended: likewise.
        shared: whether all were worked on at once. Then the span of the first request has links
            to the stage spans of the others, and the others' spans have one to it: from any of
            them, one finds the batch.
        attributes: of the spans; `_` stands for `.` in their names.
    """
    tracer = tracing.tracer() if any(work.trace is not None for work in works) else None
    if tracer is None:
        return
    counts: dict[tuple[int, int], int] = {}
    traces: dict[tuple[int, int], Trace] = {}
    for work in works:
        if work.trace is not None:
            key = _key(work.trace)
            traces.setdefault(key, work.trace)
            counts[key] = counts.get(key, 0) + 1
    first: SpanContext | None = None
    others = [Link(trace.parent) for trace in list(traces.values())[1:]] if shared else []
    named = {f"dermserve.{key.replace('_', '.')}": value for key, value in attributes.items()}
    for key, trace in traces.items():
        links = others if first is None else [Link(first)] if shared else []
        span = _start(tracer, name, trace, wall_ns(started), links)
        first = first or span.get_span_context()
        span.set_attributes(
            {
                BATCH_SIZE: len(works),
                IMAGES: counts[key],
                QUEUE_WAIT_S: max(0.0, started - trace.since),
                **named,
            }
        )
        span.end(wall_ns(ended))


def wall_ns(moment: float) -> int:
    """A moment of `time.perf_counter`, in nanoseconds since 1970."""
    return time.time_ns() - round((time.perf_counter() - moment) * 1e9)


def _start(
    tracer: Tracer,
    name: str,
    trace: Trace,
    start_ns: int | None = None,
    links: Sequence[Link] = (),
) -> Span:
    context = set_span_in_context(as_parent(trace.parent))
    span = tracer.start_span(name, context, links=links, start_time=start_ns)
    if trace.hop_wait_s is not None:
        span.set_attribute(HOP_WAIT_S, trace.hop_wait_s)
    return span


def _describe(
    works: Sequence[Work[Any]], results: Sequence[object], spans: dict[tuple[int, int], Span]
) -> None:
    """Say of each span how many images it covers, and the first error among them."""
    images = dict.fromkeys(spans, 0)
    errors: dict[tuple[int, int], Exception] = {}
    for work, result in zip(works, results, strict=True):
        if work.trace is None:
            continue
        key = _key(work.trace)
        images[key] += 1
        if isinstance(result, Exception):
            errors.setdefault(key, result)
    for key, span in spans.items():
        span.set_attribute(IMAGES, images[key])
        if key in errors:
            mark(span, errors[key])


def mark(span: Span, error: Exception) -> None:
    """Say of a span what went wrong; only what is the server's fault counts as its failure."""
    code, ours = type(error).__name__, True
    if isinstance(error, DermServeError):
        code, ours = error.code, error.status >= 500
    span.set_attribute("error.type", code)
    if ours:
        span.set_status(StatusCode.ERROR)


def _key(trace: Trace) -> tuple[int, int]:
    return trace.parent.trace_id, trace.parent.span_id
