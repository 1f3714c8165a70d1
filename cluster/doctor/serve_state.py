"""What Ray's dashboard tells of the cluster: Serve's applications, the nodes, the version."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cluster.doctor.unseen import Unseen

TIMEOUT_S = 10.0
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, or what Ray takes for one."""

    ip: str
    cpus: float
    """Logical CPUs that Ray hands out."""
    gpus: float
    metrics_port: int | None
    """Of Ray's agent there; None if that is not known."""


@dataclass(frozen=True)
class ServeState:
    """Answers of the dashboard."""

    url: str
    asks_for_token: bool
    """Whether it refused who came without one."""
    ray_version: str
    details: dict[str, Any] = field(default_factory=dict)
    """Of `/api/serve/applications/`."""
    nodes: tuple[Node, ...] = ()


def ray_token(environment: Mapping[str, str]) -> str | None:
    """Ray's token, from where Ray itself looks for it; None if there is none."""
    if token := environment.get("RAY_AUTH_TOKEN"):
        return token
    path = environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip() or None
    return None


def ask_dashboard(url: str, environment: Mapping[str, str]) -> ServeState | Unseen:
    """Ask Ray's dashboard for all that it knows.

    Args:
        url: of the dashboard.
        environment: of the server, which says where the token is.
    """
    serve = "/api/serve/applications/"
    token = ray_token(environment)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as http:
            version = http.get("/api/version", headers=headers).json()["ray_version"]
            asks_for_token = http.get(serve).status_code in _REFUSED
            details = http.get(serve, headers=headers)
            nodes = http.get("/api/v0/nodes", headers=headers)
            summary = http.get("/nodes?view=summary", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        return Unseen(
            f"Ray's dashboard does not answer at {url} ({type(error).__name__}). Name it with "
            "--dashboard-url if it is elsewhere."
        )
    if details.status_code in _REFUSED:
        return Unseen(
            f"Ray's dashboard at {url} wants Ray's token, and the one here is missing or another. "
            "Set RAY_AUTH_TOKEN_PATH to the file that the server has."
        )
    if details.status_code != httpx.codes.OK or nodes.status_code != httpx.codes.OK:
        return Unseen(f"Ray's dashboard at {url} answers {details.status_code}.")
    ports = _metrics_ports(summary.json()) if summary.is_success else {}
    return ServeState(url, asks_for_token, version, details.json(), _nodes(nodes.json(), ports))


def _metrics_ports(document: dict[str, Any]) -> dict[str, int]:
    """By the id of a node."""
    raylets = [each["raylet"] for each in document["data"]["summary"]]
    return {
        each["nodeId"]: int(each["metricsExportPort"])
        for each in raylets
        if each.get("nodeId") and each.get("metricsExportPort")
    }


def _nodes(document: dict[str, Any], ports: Mapping[str, int]) -> tuple[Node, ...]:
    return tuple(
        Node(
            ip=node["node_ip"],
            cpus=node["resources_total"].get("CPU", 0.0),
            gpus=node["resources_total"].get("GPU", 0.0),
            metrics_port=ports.get(node["node_id"]),
        )
        for node in document["data"]["result"]["result"]
        if node["state"] == "ALIVE"
    )
