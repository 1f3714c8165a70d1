"""The limit of open files, of which every connection takes one or two."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings

LEAST = 1024
"""Fewer, and a server does not come up reliably."""
ADVISED = 8192
"""What Ray recommends."""
_BESIDE_CONNECTIONS = 128
_RAYS_MAXCONN = 4096


@dataclass(frozen=True)
class OpenFileFacts:
    """Limits of processes."""

    hard: int
    """Of this process, up to which Ray raises its own; -1 is no limit."""
    processes: Mapping[str, int]
    """The lowest limit of the processes of each role."""
    maxconn: int
    """Connections that HAProxy is to take."""


def gather(surroundings: Surroundings) -> OpenFileFacts:
    """From the system."""
    lowest: dict[str, int] = {}
    for each in surroundings.seen_processes:
        if each.max_open_files is not None:
            limit = _comparable(each.max_open_files)
            lowest[each.role] = min(limit, lowest.get(each.role, limit))
    return OpenFileFacts(
        hard=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        processes=lowest,
        maxconn=int(surroundings.environment.get("RAY_SERVE_HAPROXY_MAXCONN") or _RAYS_MAXCONN),
    )


def check(facts: OpenFileFacts) -> list[Finding]:
    """Judge the running processes, or else what a server would get here."""
    raise_it = (
        f"Allow at least {2 * ADVISED}: `ulimit -n {2 * ADVISED}` before Ray starts, LimitNOFILE= "
        "in a systemd unit, ulimits.nofile in compose."
    )
    limits = dict(facts.processes) or {"a server started here": _comparable(facts.hard)}
    found = []
    for name, limit in limits.items():
        advised = 2 * facts.maxconn + _BESIDE_CONNECTIONS if name == "haproxy" else ADVISED
        if limit < LEAST:
            found.append(wrong(f"{name} may open {limit} files.", raise_it))
        elif limit < advised:
            found.append(
                warning(f"{name} may open {limit} files, and {advised} are advised.", raise_it)
            )
    lowest = min(limits.values())
    shown = "any number of" if lowest == _comparable(-1) else f"at least {lowest}"
    who = "All processes" if facts.processes else "A server started here"
    return found or [ok(f"{who} may open {shown} files.")]


def _comparable(limit: int) -> int:
    return 2**63 if limit == resource.RLIM_INFINITY else limit


SUBJECT = Subject("Open files", gather, check)
