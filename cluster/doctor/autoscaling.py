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
    for name, scaling in facts.deployments.items():
        if scaling is None:
            found.append(
                wrong(
                    f"{name} has no autoscaling_config. A promotion or a later block restarts the "
                    "whole application, which loses requests.",
                    f"Give {name} the block that serve_config.yaml has, and deploy again.",
                )
            )
            continue
        least, most = scaling.get("min_replicas", 1), scaling.get("max_replicas", 1)
        if least > most:
            found.append(
                wrong(
                    f"{name} has min_replicas {least} and max_replicas {most}.",
                    f"Set max_replicas of {name} to {least} at least.",
                )
            )
        elif least == 0:
            found.append(
                wrong(
                    f"{name} has min_replicas 0: after a pause, the first request waits for a "
                    "replica to start, and a rollout finds none.",
                    f"Set min_replicas of {name} to 1 at least.",
                )
            )
    return found or [ok(f"All deployments of {facts.source} have an autoscaling_config.")]


SUBJECT = Subject("Autoscaling", gather, check)
