"""Which way requests really take: the proxy in front, and calls between the stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from cluster.doctor.finding import Finding, not_checked, ok, warning, wrong
from cluster.doctor.processes import ServerProcess
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import seen
from cluster.environment import EDGE
from serve_app.chain import CHAIN


@dataclass(frozen=True)
class DataPathFacts:
    """What listens, what is configured, and who is connected to whom."""

    port: int
    """Of HTTP."""
    owners: tuple[str, ...]
    """Roles of the processes that listen there."""
    haproxy_wanted: bool
    """By the environment of Serve's controller."""
    edge: bool
    """Whether HAProxy was started through `dermserve-haproxy`."""
    claimed: str | None
    """The proxy that `/health` names."""
    hops: dict[str, bool | None]
    """For each pair of stages whether a gRPC connection is open; None if no replica of one of
    them is on this machine."""


def gather(surroundings: Surroundings) -> DataPathFacts:
    """From the sockets of the server's processes; `/health` has just gone through the chain."""
    processes = seen(surroundings.processes)
    health = seen(surroundings.health)
    port = urlsplit(surroundings.url).port or 80
    environments = [each.environment for each in processes if each.role == "controller"]
    managers = [each.environment for each in processes if each.role == "haproxy manager"]
    return DataPathFacts(
        port=port,
        owners=tuple(
            sorted(
                {
                    each.role
                    for each in processes
                    if any(listener.port == port for listener in each.listeners)
                }
            )
        ),
        haproxy_wanted=any(each.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" for each in environments),
        edge=all(
            Path(each.get("RAY_SERVE_HAPROXY_BINARY_PATH", "")).name == EDGE.name
            for each in managers
        ),
        claimed=(health.document.get("data_path") or {}).get("proxy"),
        hops=hops(processes),
    )


def hops(processes: Iterable[ServerProcess]) -> dict[str, bool | None]:
    """Whether each stage is connected to the gRPC server of the next.

    Ray has a replica's server for such calls listen on every interface, other than the socket
    for calls by reference.
    """
    replicas: dict[str, list[ServerProcess]] = {}
    for each in processes:
        if each.is_replica:
            replicas.setdefault(each.role, []).append(each)
    if CHAIN[0] not in replicas and CHAIN[-1] in replicas:
        return {}  # colocated: one process
    found: dict[str, bool | None] = {}
    for caller, called in pairwise(CHAIN):
        name = f"{caller} -> {called}"
        if caller not in replicas or called not in replicas:
            found[name] = None
            continue
        servers = {
            listener.port
            for each in replicas[called]
            for listener in each.listeners
            if listener.ip == "::"
        }
        found[name] = any(port in servers for each in replicas[caller] for port in each.peers)
    return found


def check(facts: DataPathFacts) -> list[Finding]:
    """Judge the proxy and the calls."""
    return [_proxy(facts), *_handles(facts)]


def _proxy(facts: DataPathFacts) -> Finding:
    restart = "Stop the server, set cluster/ray.env in the environment of Ray, and start it again"
    if "haproxy" in facts.owners:
        if not facts.edge:
            return warning(
                "Requests enter through HAProxy without DermServe's edge: it shows its statistics "
                "to everybody, and a full server refuses images late.",
                "Set RAY_SERVE_HAPROXY_BINARY_PATH as cluster/ray.env says, and start Ray again.",
            )
        return ok(f"Requests enter through HAProxy, on port {facts.port}.")
    if facts.claimed == "haproxy" or facts.haproxy_wanted:
        held = ", ".join(facts.owners) or "no process"
        return wrong(
            f"The server is configured for HAProxy, and it is {held} that listens on port "
            f"{facts.port}.",
            f"{restart}; the log of Serve's controller says why HAProxy did not start.",
        )
    if "proxy" in facts.owners:
        return warning(
            "Requests enter through Ray's Python proxy, which is several times slower than "
            "HAProxy.",
            f"{restart} (RAY_SERVE_ENABLE_HA_PROXY=1).",
        )
    return not_checked(
        f"None of Serve's proxies listens on port {facts.port} itself: is there another in front?"
    )


def _handles(facts: DataPathFacts) -> list[Finding]:
    if not facts.hops:
        return [ok("All stages are in one process, and pass images on without packing them.")]
    missing = [name for name, open_ in facts.hops.items() if open_ is False]
    unseen = [name for name, open_ in facts.hops.items() if open_ is None]
    found = []
    if missing:
        found.append(
            warning(
                f"No gRPC connection is open for {', '.join(missing)}: calls go by reference, or "
                "none was made yet.",
                "Send an image to /predict and look again. If it stays so, the handles do not go "
                "through serve_app/hop.py.",
            )
        )
    if unseen:
        found.append(not_checked(f"Not both ends of {', '.join(unseen)} are on this machine."))
    live = [name for name, open_ in facts.hops.items() if open_]
    if live:
        found.append(ok(f"Batches go by value over gRPC: {', '.join(live)} are connected."))
    return found


SUBJECT = Subject("Data path", gather, check)
