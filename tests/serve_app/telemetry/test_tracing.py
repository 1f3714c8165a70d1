"""Tracing: OpenTelemetry's variables decide, and nothing is recorded unless one of them asks."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from models.errors import InvalidConfiguration
from serve_app.app import build
from serve_app.telemetry import tracing
from serve_app.telemetry.tracing import exporters
from tests.conftest import PROJECT, free_port, tracing_to
from tests.serve_app.telemetry.receiver import Receiver

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", **ENDPOINT},
        {"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SDK_DISABLED": "true", **ENDPOINT},
        {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "mine"},
    ],
)
def test_nothing_is_recorded_unless_asked(environment: dict[str, str]) -> None:
    assert exporters(environment) == []


@pytest.mark.parametrize(
    ("environment", "modules"),
    [
        (ENDPOINT, ["proto.grpc"]),
        (ENDPOINT | HTTP, ["proto.http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, ["proto.grpc"]),
        (
            ENDPOINT | HTTP | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            ["proto.grpc"],
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp"} | HTTP, ["proto.http"]),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["sdk.trace.export"]),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["sdk.trace.export", "proto.grpc"]),
    ],
)
def test_the_environment_names_the_exporters(
    environment: dict[str, str], modules: list[str]
) -> None:
    found = exporters(environment)
    assert len(found) == len(modules)
    for exporter, module in zip(found, modules, strict=True):
        assert module in exporter.__module__


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "http/protobuf"),
    ],
)
def test_what_is_not_there_is_refused_with_advice(environment: dict[str, str], word: str) -> None:
    with pytest.raises(InvalidConfiguration, match=word):
        exporters(environment)


def test_a_server_without_the_extra_says_so_when_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = EntryPoint("otlp_proto_grpc", "not_installed_at_all:Exporter", "a group")
    monkeypatch.setattr(tracing, "entry_points", lambda **which: [missing])
    monkeypatch.setenv(*next(iter(ENDPOINT.items())))
    with pytest.raises(InvalidConfiguration, match="extra `tracing`"):
        build({})


@pytest.mark.parametrize("sampler", ["always_on", "parentbased_always_off"])
def test_the_spans_of_another_process_arrive(sampler: str) -> None:
    """The SDK's own variables count: the sampler here, and the attributes of the resource."""
    code = (
        "from serve_app.telemetry import tracing, trace_context\n"
        "from opentelemetry.trace import set_span_in_context\n"
        f"parent = trace_context.parse(['00-{TRACE}-00f067aa0ba902b7-01'], [])\n"
        "begin = tracing.tracer().start_span\n"
        "begin('of nobody').end()\n"
        "begin('of a client', set_span_in_context(trace_context.as_parent(parent))).end()\n"
    )
    with Receiver(port := free_port()) as receiver:
        environment = {
            **os.environ,
            **tracing_to(port),
            "OTEL_TRACES_SAMPLER": sampler,
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=a-test",
        }
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=PROJECT)
        spans = receiver.until(lambda found: any(each.name == "of a client" for _, each in found))
    names = {span.name for _, span in spans}
    assert names == {"of a client"} | ({"of nobody"} if sampler == "always_on" else set())
    (resource,) = {tuple(sorted(resource.items())) for resource, _ in spans}
    said = dict(resource)
    assert said["service.name"] == "dermserve"
    assert said["deployment.environment.name"] == "a-test"
    assert said["process.pid"] != os.getpid()


def test_a_process_says_which_it_is() -> None:
    resource = tracing._resource({})
    assert resource["service.name"] == "dermserve"
    assert resource["service.instance.id"]
    for environment in (
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=x,service.name=mine"},
    ):
        assert "service.name" not in tracing._resource(environment)
