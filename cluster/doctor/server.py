"""Whether the server answers, and all of it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.doctor.finding import Finding, continued, not_checked, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Health, Surroundings
from cluster.doctor.unseen import Unseen

_LOGS = "read its log in /tmp/ray/session_latest/logs/serve"


@dataclass(frozen=True)
class ServerFacts:
    """What the server says of itself."""

    url: str
    named: bool
    """Whether it has to be there."""
    health: Health | Unseen
    applications: dict[str, dict[str, Any]] | Unseen
    """Of Serve: status, message and deployments of each."""


def gather(surroundings: Surroundings) -> ServerFacts:
    """Taken from what was asked already."""
    serve = surroundings.serve
    return ServerFacts(
        url=surroundings.url,
        named=surroundings.named,
        health=surroundings.health,
        applications=serve if isinstance(serve, Unseen) else serve.details["applications"],
    )


def check(facts: ServerFacts) -> list[Finding]:
    """Judge the answers of the server and of Serve."""
    return [_health(facts), *_applications(facts)]


def _health(facts: ServerFacts) -> Finding:
    health = facts.health
    if isinstance(health, Unseen):
        if facts.named:
            return wrong(
                f"{facts.url}: {continued(str(health))}",
                "Start it with `dermserve up`, or correct --url.",
            )
        return not_checked(
            f"{facts.url}: {continued(str(health))} What only a running one tells is not checked.",
            "Start it with `dermserve up`, or name it with --url.",
        )
    status = health.document.get("status")
    if status == "ok":
        return ok(f"{facts.url} answers and is ready.")
    if status in ("not_ready", "unreachable"):
        reason = health.document.get("reason") or "It gives no reason."
        return wrong(
            f"{facts.url} answers, and cannot predict: {reason}",
            f"Wait if it has just started; otherwise {_LOGS}.",
        )
    return wrong(
        f"{facts.url} answers {health.status_code}, and not as DermServe does.",
        "Look which program listens there, or correct --url.",
    )


def _applications(facts: ServerFacts) -> list[Finding]:
    if isinstance(facts.applications, Unseen):
        unasked = isinstance(facts.health, Unseen) and not facts.named
        return (
            []
            if unasked
            else [not_checked(f"Which applications run is not known. {facts.applications}")]
        )
    found = []
    for name, application in sorted(facts.applications.items()):
        if application["status"] != "RUNNING":
            found.append(
                wrong(
                    f"The application {name} is {application['status']}. "
                    f"{application.get('message') or ''}".strip(),
                    f"Wait if it has just been deployed; otherwise {_LOGS} and deploy it again.",
                )
            )
            continue
        sick = {
            each: deployment
            for each, deployment in application["deployments"].items()
            if deployment["status"] != "HEALTHY"
        }
        found += [_sick(name, each, deployment) for each, deployment in sick.items()]
        if not sick:
            deployments = ", ".join(application["deployments"])
            found.append(ok(f"The application {name} runs: {deployments}."))
    return found or [
        wrong("Serve runs no application.", "Deploy it: `dermserve deploy serve_config.yaml`.")
    ]


def _sick(application: str, name: str, deployment: dict[str, Any]) -> Finding:
    status, message = deployment["status"], deployment.get("message") or ""
    said = f"The deployment {name} of {application} is {status}. {message}".strip()
    if status in ("UPDATING", "UPSCALING", "DOWNSCALING"):
        return warning(said, "Wait; if it stays so, there is no room for its replicas.")
    return wrong(said, f"{_LOGS[0].upper()}{_LOGS[1:]}.")


SUBJECT = Subject("Server", gather, check)
