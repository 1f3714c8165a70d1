"""Whether every deployment has an `autoscaling_config`, without which it cannot change softly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.doctor.finding import Finding, not_checked, ok, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings


@dataclass(frozen=True)
class AutoscalingFacts:
    """What each deployment has."""

    source: str
    deployments: dict[str, dict[str, Any] | None]
    """The `autoscaling_config` of each."""


def gather(surroundings: Surroundings) -> AutoscalingFacts:
    """From Serve's REST API, or the file."""
    declared = surroundings.declared
    return AutoscalingFacts(
        declared.source,
        {name: each.get("autoscaling_config") for name, each in declared.deployments.items()},
    )


def check(facts: AutoscalingFacts) -> list[Finding]:
    """Find what is missing, and bounds that contradict each other."""
    if not facts.deployments:
        return [not_checked(f"{facts.source} names no deployment.")]
    found = []
    missing = [name for name, scaling in facts.deployments.items() if scaling is None]
    if missing:
        found.append(
            wrong(
                f"No autoscaling_config: {', '.join(missing)}. A promotion or a later block "
                "restarts the whole application, which loses requests.",
                "Write the block that serve_config.yaml has, and deploy again.",
            )
        )
    bounds = {
        name: (scaling.get("min_replicas", 1), scaling.get("max_replicas", 1))
        for name, scaling in facts.deployments.items()
        if scaling is not None
    }
    crossed = [name for name, (least, most) in bounds.items() if least > most]
    if crossed:
        found.append(
            wrong(
                f"min_replicas is more than max_replicas: {', '.join(crossed)}.",
                "Set max_replicas to min_replicas at least.",
            )
        )
    idle = [name for name, (least, _) in bounds.items() if least == 0]
    if idle:
        found.append(
            wrong(
                f"min_replicas is 0: {', '.join(idle)}. After a pause, the first request waits for "
                "a replica to start, and a rollout finds none.",
                "Set min_replicas to 1 at least.",
            )
        )
    return found or [ok(f"All deployments of {facts.source} have an autoscaling_config.")]


SUBJECT = Subject("Autoscaling", gather, check)
