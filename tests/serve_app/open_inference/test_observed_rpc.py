"""Calls over gRPC are observed as requests over HTTP are: a span, and a line in the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tritonclient.grpc import service_pb2

from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.open_inference.protocol import OpenInference
from serve_app.telemetry import tracing
from serve_app.telemetry.observer import Observer
from tests.serve_app.chain import InProcessChain
from tests.serve_app.open_inference.examples import packed
from tests.serve_app.open_inference.procedures import InProcessProcedures
from tests.serve_app.telemetry.lines import lines_of, text_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ROUTE = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def procedures(access: Access, open_inference: OpenInference) -> InProcessProcedures:
    procedures = InProcessProcedures(access, open_inference)
    procedures._observer = Observer(access_log=True)
    return procedures


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("a test")
    monkeypatch.setattr(tracing, "tracer", lambda: tracer)
    return exporter


def _infer(image: bytes) -> Any:
    request = service_pb2.ModelInferRequest(model_name="dermserve")
    request.inputs.add(name="IMAGE", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(packed(image))
    return request


async def test_a_call_has_a_span_and_a_line(
    procedures: InProcessProcedures,
    spans: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    jpeg: bytes,
) -> None:
    request = _infer(jpeg)
    with caplog.at_level(logging.INFO):
        response, _ = await procedures.call(
            "ModelInfer", request, traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="rojo=1"
        )
    (span,) = spans.get_finished_spans()
    assert span.name == ROUTE
    assert (span.context.trace_id, span.parent and span.parent.span_id) == (
        int(TRACE, 16),
        int(SPAN, 16),
    )
    attributes = dict(span.attributes or {})
    assert (attributes["rpc.system.name"], attributes["rpc.method"]) == ("grpc", ROUTE)
    assert attributes["dermserve.request_id"] == "made-by-serve"
    (line,) = lines_of(caplog)
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request",
        "protocol": "grpc",
        "method": "POST",
        "route": f"/{ROUTE}",
        "status": 200,
        "request_id": "made-by-serve",
        "key_id": None,
        "request_bytes": request.ByteSize(),
        "response_bytes": response.ByteSize(),
        "model_version": None,  # the chain of this test tells nobody
    }


@pytest.mark.parametrize("traceparent", ["00-ABC", f"ff-{TRACE}-{SPAN}-01", "", "x" * 5000])
async def test_a_context_that_is_invalid_begins_a_trace(
    procedures: InProcessProcedures, spans: InMemorySpanExporter, traceparent: str
) -> None:
    request = service_pb2.ServerLiveRequest()
    response, _ = await procedures.call("ServerLive", request, traceparent=traceparent)
    assert response.live
    (span,) = spans.get_finished_spans()
    assert span.parent is None


async def test_a_refusal_has_its_status_and_a_mistake_is_an_error(
    procedures: InProcessProcedures,
    spans: InMemorySpanExporter,
    keys: Keys,
    ring: KeyRing,
    chain: InProcessChain,
    caplog: pytest.LogCaptureFixture,
    jpeg: bytes,
) -> None:
    created = keys.create("a test", [Role.PREDICT], "test")
    ring.refresh()
    with caplog.at_level(logging.INFO):
        await procedures.refusal("ModelInfer", _infer(jpeg))
        await procedures.refusal("ModelInfer", _infer(b"no image"), x_api_key=created.text)
        chain.error = RuntimeError("a bug")
        try:
            await procedures.refusal("ModelInfer", _infer(jpeg), x_api_key=created.text)
        finally:
            chain.error = None
    lines = lines_of(caplog)
    assert [line["status"] for line in lines] == [401, 415, 500]
    assert [line["key_id"] for line in lines] == [None, created.key.id, created.key.id]
    assert [span.status.is_ok or span.status.is_unset for span in spans.get_finished_spans()] == [
        True,
        True,
        False,
    ]
    assert created.text not in text_of(caplog)
