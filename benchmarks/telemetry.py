"""Telemetry: what logs and traces cost a request, in microseconds of CPU."""

from __future__ import annotations

import asyncio
import logging
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import typer
from fastapi import FastAPI
from opentelemetry.trace import Tracer
from ray.serve._private import logging_utils
from ray.serve.schema import LoggingConfig
from rich.progress import track
from rich.table import Table
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.command import run
from benchmarks.screen import screen
from models.log_records import LOGGER, RecordFilter
from serve_app.hot_path import with_hot_path
from serve_app.message import Message
from serve_app.shared_memory import SharedReader
from serve_app.telemetry import tracing
from serve_app.telemetry.observed_app import with_observer
from serve_app.telemetry.observer import Observer, current
from serve_app.telemetry.stage_spans import record, traced
from serve_app.work import Work

_TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"benchmark"),
    (b"accept", b"*/*"),
    (b"content-type", b"image/jpeg"),
    (b"content-length", b"45000"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-request-id", b"6f1cd7e4-7f5f-4f43-8f9d-9b3f3c4a8a11"),
]
_BODY = bytes(64)
_ANSWER = bytes(1800)


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run a server."""

    name: str
    observer: bool = True
    encoding: str | None = None
    """Of the access log; None writes none."""
    sampled: bool | None = None
    """Whether requests are traced; None without a receiver."""


MODES = (
    Mode("no telemetry in the code", observer=False),
    Mode("all off"),
    Mode("access log, TEXT", encoding="TEXT"),
    Mode("access log, JSON", encoding="JSON"),
    Mode("traces on, request not sampled", sampled=False),
    Mode("traces on, request sampled", sampled=True),
)


def main(
    requests: Annotated[int, typer.Option(min=1, help="Requests in a row.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each mode.")] = 9,
) -> None:
    """Send requests of one image past everything but decoding, inference and the network.

    They take the hot path and two messages between stages, which are pickled. Spans are encoded
    for OTLP and not sent.

    Example: python -m benchmarks.telemetry --rounds 15
    """
    costs: dict[str, list[float]] = {mode.name: [] for mode in MODES}
    for _ in track(range(rounds), "Measuring"):
        for mode in MODES:
            costs[mode.name].append(cost_us(mode, requests))
    screen().print(table(costs))


def cost_us(mode: Mode, requests: int) -> float:
    """Microseconds of this process's CPU for a request."""
    with ExitStack() as stack:
        if mode.encoding is not None:
            stack.enter_context(_log(mode.encoding))
        flush: Callable[[], Any] = bool
        if mode.sampled is not None:
            tracer, flush = _tracer()
            stack.enter_context(mock.patch.object(tracing, "tracer", return_value=tracer))
        app = _application(mode)
        headers = list(_HEADERS)
        if mode.sampled is not None:
            headers.append((b"traceparent", _TRACEPARENT + (b"01" if mode.sampled else b"00")))
        return asyncio.run(_send(app, headers, requests, flush))


def table(costs: dict[str, list[float]]) -> Table:
    """The median of each mode, and what it is above the first.

    Args:
        costs: microseconds of each round, by mode; the first is the reference.
    """
    shown = Table("", "µs a request", "more than without")
    reference = next(iter(costs.values()))
    for name, each in costs.items():
        more = [ours - theirs for ours, theirs in zip(each, reference, strict=True)]
        shown.add_row(name, f"{statistics.median(each):.1f}", f"{statistics.median(more):+.1f}")
    shown.caption = f"Medians of {len(reference)} rounds; differences are of the same round."
    return shown


def _application(mode: Mode) -> FastAPI:
    reader = SharedReader()

    def arrive(works: Sequence[Work[Any]]) -> list[Work[Any]]:
        message: Message = pickle.loads(pickle.dumps(Message.by_value(works)))
        return list(message.images(reader))

    async def classifier(works: Sequence[Work[Any]]) -> list[int]:
        if mode.observer:
            started = time.perf_counter()
            record("forward", works, started, started, shared=True, model_version="7")
        return [0] * len(works)

    async def preprocessor(works: Sequence[Work[Any]]) -> list[int]:
        if not mode.observer:
            return await classifier(arrive(works))
        started = time.perf_counter()
        record("decode", works, started, started)
        return await traced("classifier", arrive(works), classifier)

    async def answer(request: Request) -> Response:
        image = await request.body()
        works: list[Work[Any]] = [Work(image)]
        if not mode.observer:
            await preprocessor(arrive(works))
            return Response(_ANSWER)
        observed = current()
        trace = None if observed is None else observed.trace()
        works = [Work(image, request_id=request.headers["x-request-id"], trace=trace)]
        await traced("preprocessor", arrive(works), preprocessor)
        return Response(_ANSWER)

    app = with_hot_path(FastAPI(), "/predict", answer)

    @app.post("/predict")
    async def predict() -> None:
        """Only its template counts."""

    return with_observer(app, Observer(mode.encoding is not None)) if mode.observer else app


async def _send(
    app: FastAPI, headers: list[tuple[bytes, bytes]], requests: int, flush: Callable[[], Any]
) -> float:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": _BODY, "more_body": False}

    async def send(message: Any) -> None:
        pass

    def scope() -> dict[str, Any]:
        return {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
        }

    for _ in range(100):
        await app(scope(), receive, send)
    begun = time.process_time()
    for _ in range(requests):
        await app(scope(), receive, send)
    flush()
    return 1e6 * (time.process_time() - begun) / requests


@contextmanager
def _log(encoding: str) -> Iterator[None]:
    """Serve's log, in a folder of its own, and what ours adds to it."""
    logger = logging.getLogger(LOGGER)
    before = logger.handlers[:]
    names = ("application", "component_name", "deployment", "node_id", "replica")
    complete = RecordFilter(dict.fromkeys(names, "6f1cd7e47f5f4f43"))
    quiet = mock.patch.object(logging_utils, "RAY_SERVE_LOG_TO_STDERR", False)
    with tempfile.TemporaryDirectory() as folder, quiet:
        logging_utils.configure_component_logger(
            component_name="ingress",
            component_id="x",
            logging_config=LoggingConfig(
                encoding=encoding, enable_access_log=False, logs_dir=str(Path(folder))
            ),
            max_bytes=64 * 2**20,
            backup_count=1,
            buffer_size=100,
        )
        logger.addFilter(complete)
        try:
            yield
        finally:
            logger.removeFilter(complete)
            for handler in logger.handlers:
                for each in (handler, getattr(handler, "target", None)):
                    if each is not None:
                        each.close()
            logger.handlers[:] = before


def _tracer() -> tuple[Tracer, Callable[[], Any]]:
    """One that encodes what it records and sends it nowhere, and what ends that."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            encode_spans(spans).SerializeToString()
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=100_000))
    return provider.get_tracer("benchmark"), provider.shutdown


if __name__ == "__main__":
    run(main)
