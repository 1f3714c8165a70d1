"""A receiver of traces: OTLP over HTTP, in this process."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.http_server import serving

PATIENCE_S = 60.0

Spans = list[tuple[dict[str, Any], Any]]


class Receiver:
    """Keeps every span that comes; use it as a context manager.

    Args:
        port: to listen on, of 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        spans = self._spans = []  # type: Spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    resource = attributes_of(group.resource)
                    for scope in group.scope_spans:
                        spans.extend((resource, span) for span in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._serving = serving(ThreadingHTTPServer(("127.0.0.1", port), Handler))

    def __enter__(self) -> Receiver:
        self._serving.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._serving.__exit__(kind, error, traceback)

    def until(self, done: Callable[[Spans], bool]) -> Spans:
        """All spans, each behind the attributes of its resource, once they meet a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(found := list(self._spans)):
            assert time.monotonic() < deadline, [span.name for _, span in found]
            time.sleep(0.05)
        return found

    def of_trace(self, trace_id: str, done: Callable[[Spans], bool]) -> Spans:
        """Those of one trace, once these meet a condition."""

        def of(spans: Spans) -> Spans:
            return [each for each in spans if each[1].trace_id.hex() == trace_id]

        return of(self.until(lambda spans: done(of(spans))))


def attributes_of(described: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: _value(each.value) for each in described.attributes}


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
