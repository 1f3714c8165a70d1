"""Tracing: OpenTelemetry's variables decide, and nothing is recorded unless one of them asks."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from models.errors import InvalidConfiguration
from serve_app.app import build
from serve_app.telemetry import tracing
from serve_app.telemetry.tracing import exporters

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


def test_a_process_says_which_it_is() -> None:
    resource = tracing._resource({})
    assert resource["service.name"] == "dermserve"
    assert resource["service.instance.id"]
    for environment in (
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=x,service.name=mine"},
    ):
        assert "service.name" not in tracing._resource(environment)
