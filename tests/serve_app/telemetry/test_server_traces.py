"""Traces of a running server: from four processes, over HTTP and gRPC, to a receiver of OTLP."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
import ray
from tritonclient.grpc import service_pb2

from cluster.server import LocalServer
from tests.conftest import TRACES_PORT
from tests.serve_app.open_inference.examples import packed
from tests.serve_app.telemetry.receiver import Receiver, Spans, attributes_of

SPAN = "00f067aa0ba902b7"
INNER = {"preprocessor", "decode", "classifier", "forward"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(TRACES_PORT) as receiver:
        yield receiver


def _context() -> tuple[str, dict[str, str]]:
    """The id of a new trace, and the headers of a request in it."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{SPAN}-01", "tracestate": "rojo=1"}


def _has(*names: str) -> Any:
    return lambda spans: {span.name for _, span in spans} >= {*INNER, *names}


def _tree(spans: Spans) -> dict[str, str]:
    """The name of each span's parent."""
    names = {span.span_id: span.name for _, span in spans}
    return {span.name: names.get(span.parent_span_id, "the client") for _, span in spans}


def test_a_request_leaves_one_tree_from_three_processes(
    server: LocalServer, receiver: Receiver, jpeg: bytes
) -> None:
    trace_id, headers = _context()
    answer = httpx.post(
        f"{server.url}/predict",
        content=jpeg,
        headers={**headers, "x-request-id": "mine-1"},
        timeout=60,
    )
    assert answer.status_code == 200
    spans = receiver.of_trace(trace_id, _has("POST /predict"))
    assert _tree(spans) == {
        "POST /predict": "the client",
        "preprocessor": "POST /predict",
        "decode": "preprocessor",
        "classifier": "preprocessor",
        "forward": "classifier",
    }
    by_name = {span.name: (resource, span) for resource, span in spans}
    assert by_name["POST /predict"][1].parent_span_id.hex() == SPAN
    assert {span.trace_state for _, span in spans} == {"rojo=1"}
    places = {name: resource["service.instance.id"] for name, (resource, _) in by_name.items()}
    assert places["POST /predict"].startswith("ingress#")
    assert places["preprocessor"] == places["decode"]
    assert places["decode"].startswith("preprocessor#")
    assert places["classifier"] == places["forward"]
    assert places["forward"].startswith("classifier#")
    assert {resource["service.name"] for resource, _ in spans} == {"dermserve"}
    served = attributes_of(by_name["POST /predict"][1])
    assert served["dermserve.request_id"] == "mine-1"
    assert served["dermserve.model_version"] == answer.json()["model_version"]
    assert served["http.route"] == "/predict"
    for name in ("preprocessor", "classifier"):
        assert attributes_of(by_name[name][1])["dermserve.hop.wait_s"] >= 0
    forward = by_name["forward"][1]
    seconds = (forward.end_time_unix_nano - forward.start_time_unix_nano) / 1e9
    assert seconds == pytest.approx(answer.json()["inference_time"], abs=1e-3)


def test_a_call_over_grpc_does_too(server: LocalServer, receiver: Receiver, jpeg: bytes) -> None:
    trace_id, metadata = _context()
    request = service_pb2.ModelInferRequest(model_name="dermserve")
    request.inputs.add(name="IMAGE", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(packed(jpeg))
    with grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        call(request, metadata=list(metadata.items()), timeout=60)
    name = "inference.GRPCInferenceService/ModelInfer"
    spans = receiver.of_trace(trace_id, _has(name))
    assert _tree(spans)[name] == "the client"
    assert _tree(spans)["preprocessor"] == name


def test_only_what_a_valid_context_asks_for_is_recorded(
    server: LocalServer, receiver: Receiver, jpeg: bytes
) -> None:
    """The sampler of this server leaves it to the client."""
    ignored, headers = _context()
    valid = headers["traceparent"]
    for sent in (
        [("traceparent", valid[:-1] + "0")],
        [("traceparent", valid), ("traceparent", valid)],
        [("traceparent", valid.upper().replace("00-", "0A-"))],
        [("traceparent", "ff" + valid[2:])],
        [("traceparent", valid + "0" * 4000)],
        [("traceparent", f"00-{'0' * 32}-{SPAN}-01")],
    ):
        answer = httpx.post(f"{server.url}/predict", content=jpeg, headers=sent, timeout=60)
        assert answer.status_code == 200
    asked, headers = _context()
    httpx.get(f"{server.url}/health/live", headers=headers, timeout=60)
    receiver.of_trace(asked, lambda spans: [span.name for _, span in spans] == ["GET /health/live"])
    # One process has recorded them in order, so what came before that would be here.
    assert receiver.of_trace(ignored, lambda spans: True) == []
    assert receiver.of_trace("0" * 32, lambda spans: True) == []


def test_the_files_of_the_log_are_bounded(server: LocalServer) -> None:
    bounds = (
        int(server.environment["RAY_ROTATION_MAX_BYTES"]),
        int(server.environment["RAY_ROTATION_BACKUP_COUNT"]),
    )
    assert bounds[0] * (bounds[1] + 1) < 512 * 2**20

    @ray.remote(num_cpus=0)
    def of_a_worker() -> tuple[int, int]:
        node = ray._private.worker._global_node
        return node.max_bytes, node.backup_count

    assert ray.get(of_a_worker.remote()) == bounds
