"""Tracing: whether this process records spans, and where they go.

OpenTelemetry's own environment variables decide, in every process of the server alike. Nothing
is recorded or sent unless one of them names a receiver.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points, version
from typing import Any

from opentelemetry.trace import Tracer

from models.errors import InvalidConfiguration

EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# gRPC is what OpenTelemetry's Python packages take without a protocol.
_OTLP = {"": "otlp_proto_grpc", "grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}

Exporters = list[Callable[[], Any]]


@cache
def tracer() -> Tracer | None:
    """What records spans in this process; None if nobody wants any.

    Raises:
        InvalidConfiguration: as `exporters`.
    """
    found = exporters(os.environ)
    return _open(found, os.environ) if found else None


def exporters(environment: Mapping[str, str]) -> Exporters:
    """What makes the exporters that the environment asks for; none is the rule.

    `OTEL_TRACES_EXPORTER` names them; without it, an OTLP endpoint asks for OTLP.

    Args:
        environment: of a process.

    Raises:
        InvalidConfiguration: if one is not installed, or the protocol is none.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    names = environment.get(EXPORTER, "").strip()
    if not names and any(environment.get(each) for each in _ENDPOINTS):
        names = "otlp"
    if names.lower() in ("", "none"):
        return []
    return [_exporter(each.strip(), environment) for each in names.split(",")]


def _exporter(name: str, environment: Mapping[str, str]) -> Callable[[], Any]:
    if name == "otlp":
        protocol = next((environment[each] for each in _PROTOCOLS if environment.get(each)), "")
        if protocol.strip() not in _OTLP:
            raise InvalidConfiguration(
                f"{_PROTOCOLS[1]} is {protocol!r}. Set grpc or http/protobuf."
            )
        name = _OTLP[protocol.strip()]
    for entry in entry_points(group="opentelemetry_traces_exporter", name=name):
        try:
            return entry.load()  # type: ignore[no-any-return]
        except ImportError:
            continue
    raise InvalidConfiguration(
        f"Traces are to go to the exporter {name}, which is not installed. Install DermServe with "
        f"the extra `tracing`, or set {EXPORTER}=none."
    )


def _open(found: Exporters, environment: Mapping[str, str]) -> Tracer:
    """A provider of our own: whatever else uses the global one keeps it."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create(_resource(environment)))
    for make in found:
        provider.add_span_processor(BatchSpanProcessor(make()))
    return provider.get_tracer("dermserve", version("dermserve"))


def _resource(environment: Mapping[str, str]) -> dict[str, Any]:
    """What a process says of itself beside what the environment says of it."""
    attributes: dict[str, Any] = {
        "service.version": version("dermserve"),
        "service.instance.id": _instance(),
        "process.pid": os.getpid(),
    }
    named = "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not environment.get("OTEL_SERVICE_NAME") and not named:
        attributes["service.name"] = "dermserve"
    return attributes


def _instance() -> str:
    """The replica, or the process outside Serve."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        replica = serve.get_replica_context()
    except RayServeException:
        return f"{os.uname().nodename}:{os.getpid()}"
    return f"{replica.deployment}#{replica.replica_tag}"
