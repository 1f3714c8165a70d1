"""Memory: what the machine and the control group leave, and when Ray ends processes for it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from cluster.doctor.cgroup import Allowance, allowance_of
from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings

GIB = 2**30
NEEDED_BYTES = 3 * GIB
"""A server with one replica of each stage and a retraining."""
LEAST_BYTES = GIB
"""To be left beside a server that runs, for a retraining or a rollout."""
DEFAULT_THRESHOLD = 0.95
"""Used fraction at which Ray ends workers (`RAY_memory_usage_threshold`)."""


@dataclass(frozen=True)
class MemoryFacts:
    """Memory of this machine."""

    total_bytes: int
    available_bytes: int
    allowance: Allowance
    """Of the server's control group, or this process's."""
    server_bytes: int | None
    """What the processes of the server have; None if none was seen."""
    threshold: float


def gather(surroundings: Surroundings) -> MemoryFacts:
    """From the system, and from the control group of the raylet."""
    memory = psutil.virtual_memory()
    threshold = surroundings.environment.get("RAY_memory_usage_threshold")
    return MemoryFacts(
        total_bytes=memory.total,
        available_bytes=memory.available,
        allowance=allowance_of(surroundings.raylet),
        server_bytes=sum(each.pss_bytes for each in surroundings.seen_processes) or None,
        threshold=float(threshold) if threshold else DEFAULT_THRESHOLD,
    )


def check(facts: MemoryFacts) -> list[Finding]:
    """Judge what is left, of the machine or of the group, whichever is less."""
    total, available, whose = facts.total_bytes, facts.available_bytes, "this machine"
    limit, used = facts.allowance.memory_bytes, facts.allowance.memory_used_bytes
    if limit is not None and limit < total:
        total, whose = limit, "the control group (container or systemd unit)"
        available = min(available, limit - (used or 0))
    said = f"{available / GIB:.1f} of {total / GIB:.1f} GiB of {whose} are free"
    if facts.server_bytes is not None:
        said += f"; the server has {facts.server_bytes / GIB:.1f}"
    more = "Give it more memory, or set fewer replicas (max_replicas) in the configuration."
    if available / total <= 1 - facts.threshold:
        return [
            wrong(
                f"{said}. From {facts.threshold:.0%} used on, Ray ends replicas and trainers.",
                f"End other programs. {more}",
            )
        ]
    needed = LEAST_BYTES if facts.server_bytes is not None else NEEDED_BYTES
    if available < needed:
        what = "a retraining" if facts.server_bytes is not None else "a server"
        return [warning(f"{said}, and {what} takes {needed / GIB:.0f}.", more)]
    return [ok(f"{said}.")]


SUBJECT = Subject("Memory", gather, check)
