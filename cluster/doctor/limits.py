"""Limits that contradict the largest batch, in the deployed configuration or in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Declared, Surroundings
from cluster.edge import DEFAULT_MAX_REQUESTS, MAX_REQUESTS_VARIABLE
from models.configuration import validate
from models.errors import InvalidConfiguration
from serve_app.settings import MIB, ServeSettings

MESSAGE_VARIABLE = "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"
GRPC_VARIABLE = "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"

_RAYS_MESSAGE_BYTES = 4 * MIB
_FOLLOW = "Leave it out of the configuration: it follows from max_batch_size"


@dataclass(frozen=True)
class LimitFacts:
    """What is set, and the variables that processes have."""

    declared: Declared
    message_bytes: Mapping[str, int]
    """Largest message between replicas that each stage was started with."""
    grpc_bytes: Mapping[str, int]
    """Largest gRPC request, likewise."""
    edge_requests: int | None
    """At which HAProxy refuses images; None if it is not there."""


def gather(surroundings: Surroundings) -> LimitFacts:
    """From Serve's REST API or the file, and from the environments of the processes."""
    processes = surroundings.seen_processes
    names = surroundings.declared.deployments.keys()
    replicas = [each for each in processes if each.is_replica and each.role in names]
    managers = [each for each in processes if each.role == "haproxy manager"]
    return LimitFacts(
        declared=surroundings.declared,
        message_bytes={
            each.role: int(each.environment.get(MESSAGE_VARIABLE) or _RAYS_MESSAGE_BYTES)
            for each in replicas
        },
        grpc_bytes={
            each.role: int(each.environment[GRPC_VARIABLE])
            for each in replicas
            if GRPC_VARIABLE in each.environment
        },
        edge_requests=int(managers[0].environment.get(MAX_REQUESTS_VARIABLE, DEFAULT_MAX_REQUESTS))
        if managers
        else None,
    )


def check(facts: LimitFacts) -> list[Finding]:
    """Hold every limit against what follows from the largest batch."""
    try:
        settings = validate(facts.declared.args, ServeSettings, "The application's args")
    except InvalidConfiguration as error:
        return [wrong(error.message, f"Correct the args in {facts.declared.source}.")]
    found = [
        *_queues(facts.declared, settings),
        *_targets(facts.declared, settings),
        *_timeouts(facts.declared, settings),
        *_variables(facts, settings),
    ]
    return found or [
        ok(
            f"Queues, targets, messages and time limits of {facts.declared.source} fit batches of "
            f"{settings.max_batch_size}."
        )
    ]


def entrance_of(settings: ServeSettings) -> str:
    """The deployment that takes requests from outside."""
    return "classifier" if settings.colocated else "ingress"


def _stages(settings: ServeSettings) -> tuple[str, ...]:
    return () if settings.colocated else ("preprocessor", "classifier")


def _queues(declared: Declared, settings: ServeSettings) -> list[Finding]:
    # Less than the least contradicts the batch; another number than ours is only unusual.
    batch_calls = -(-settings.max_batch_size // settings.hop_batch_size)
    rules = [
        (
            entrance_of(settings),
            settings.max_waiting,
            settings.ingress_ongoing_requests,
            f"the {settings.max_waiting} images that it may hold",
        ),
        *(
            (
                stage,
                batch_calls,
                settings.stage_ongoing_requests,
                f"the {batch_calls} messages that bring a batch of {settings.max_batch_size}",
            )
            for stage in _stages(settings)
        ),
    ]
    found = []
    for name, least, ours, what in rules:
        value = declared.deployments.get(name, {}).get("max_ongoing_requests")
        if value is None or value == ours:
            continue
        if value < least:
            found.append(
                wrong(
                    f"max_ongoing_requests of {name} is {value}, less than {what}: batches cannot "
                    "fill.",
                    f"{_FOLLOW} ({ours}).",
                )
            )
        else:
            found.append(
                warning(
                    f"max_ongoing_requests of {name} is {value}, and {ours} follows from batches "
                    f"of {settings.max_batch_size}.",
                    f"{_FOLLOW}.",
                )
            )
    return found


def _targets(declared: Declared, settings: ServeSettings) -> list[Finding]:
    found = []
    wanted = {
        entrance_of(settings): settings.ingress_target,
        **dict.fromkeys(_stages(settings), settings.stage_target),
    }
    for name, target in wanted.items():
        scaling = declared.deployments.get(name, {}).get("autoscaling_config") or {}
        value = scaling.get("target_ongoing_requests", target)
        if value != target:
            found.append(
                warning(
                    f"target_ongoing_requests of {name} is {value:g}, and {target} follows from "
                    f"batches of {settings.max_batch_size}: replicas come too "
                    f"{'early' if value < target else 'late'}.",
                    f"Set it to {target} in the autoscaling_config.",
                )
            )
        if name in _stages(settings) and scaling.get("max_replicas", 1) > settings.hop_lanes:
            found.append(
                warning(
                    f"max_replicas of {name} is {scaling['max_replicas']}, and the stage before it "
                    f"has {settings.hop_lanes} lanes: the replicas beyond get nothing to do.",
                    f"Set hop_lanes in the args to {scaling['max_replicas']} at least.",
                )
            )
    return found


def _timeouts(declared: Declared, settings: ServeSettings) -> list[Finding]:
    found = []
    options: dict[str, dict[str, Any]] = {
        "http_options": declared.http_options,
        "grpc_options": declared.grpc_options,
    }
    for name, each in options.items():
        timeout_s = each.get("request_timeout_s")
        if timeout_s is not None and timeout_s <= settings.deadline_s:
            found.append(
                wrong(
                    f"request_timeout_s of the {name} is {timeout_s:g}, and deadline_s is "
                    f"{settings.deadline_s:g}: Serve hangs up before a late answer can be given.",
                    f"Set request_timeout_s to {settings.deadline_s + 10:g}, or deadline_s lower.",
                )
            )
    return found


def _variables(facts: LimitFacts, settings: ServeSettings) -> list[Finding]:
    restart = "Deploy the application again with the code of serve_app/app.py, which sets it."
    found = [
        wrong(
            f"{name} takes messages of {bytes_ / MIB:.0f} MiB ({MESSAGE_VARIABLE}), and one with "
            f"images may have {settings.max_hop_bytes / MIB:.0f} MiB.",
            restart,
        )
        for name, bytes_ in facts.message_bytes.items()
        if bytes_ < settings.max_hop_bytes
    ]
    entrance = entrance_of(settings)
    if facts.grpc_bytes.get(entrance, settings.max_grpc_bytes) < settings.max_grpc_bytes:
        found.append(
            wrong(
                f"{entrance} takes gRPC requests of {facts.grpc_bytes[entrance] / MIB:.0f} MiB "
                f"({GRPC_VARIABLE}), and one may have {settings.max_grpc_bytes / MIB:.0f} MiB.",
                restart,
            )
        )
    if facts.edge_requests not in (None, settings.max_waiting):
        found.append(
            warning(
                f"HAProxy refuses images at {facts.edge_requests} requests, and a replica holds "
                f"{settings.max_waiting} images.",
                f"Set {MAX_REQUESTS_VARIABLE}={settings.max_waiting} before Ray starts.",
            )
        )
    return found


SUBJECT = Subject("Limits", gather, check)
