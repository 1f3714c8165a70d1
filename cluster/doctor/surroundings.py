"""What the doctor has in front of it: a configuration, and a running server if there is one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cluster.addresses import DASHBOARD_PORT
from cluster.doctor.processes import ServerProcess, find_processes
from cluster.doctor.serve_state import Node, ServeState, ask_dashboard
from cluster.doctor.unseen import Unseen, seen
from cluster.environment import ray_environment
from data.catalogue.database import CATALOGUE_VARIABLE
from data.image_store import IMAGES_VARIABLE
from models.configuration import read_serve_config
from models.errors import InvalidConfiguration
from models.package import CHAMPION_VARIABLE
from models.tracking_uri import REGISTRY_VARIABLE
from training.promotion.serve_config import APPLICATION
from training.storage import RUNS_VARIABLE

HEALTH_TIMEOUT_S = 10.0

PLACES = (
    REGISTRY_VARIABLE,
    "MLFLOW_TRACKING_URI",
    CATALOGUE_VARIABLE,
    IMAGES_VARIABLE,
    RUNS_VARIABLE,
    CHAMPION_VARIABLE,
)
"""Variables that say where a server keeps things."""


@dataclass(frozen=True)
class Health:
    """An answer of `/health`."""

    status_code: int
    document: dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """A Serve configuration: the one that is deployed, or that of the file."""

    source: str
    args: dict[str, Any]
    """Of the application."""
    deployments: dict[str, dict[str, Any]]
    """Options of each by name; from a file, those that it overrides."""
    http_options: dict[str, Any]
    grpc_options: dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """All that subjects gather their facts from."""

    config: Path
    document: dict[str, Any]
    """The Serve configuration of the file."""
    url: str
    named: bool
    """Whether the operator named the server, which then has to answer."""
    environment: Mapping[str, str]
    """Variables of the server, or those that one would be started with."""
    health: Health | Unseen
    processes: tuple[ServerProcess, ...] | Unseen
    serve: ServeState | Unseen

    @property
    def seen_processes(self) -> tuple[ServerProcess, ...]:
        """The processes of the server; none if there was no way to look."""
        return () if isinstance(self.processes, Unseen) else self.processes

    @property
    def raylet(self) -> int | None:
        """Process id of Ray's agent on this machine; its control group is the server's."""
        return next((each.pid for each in self.seen_processes if each.role == "raylet"), None)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What Ray tells of its nodes; none if it was not asked."""
        return () if isinstance(self.serve, Unseen) else self.serve.nodes

    @property
    def machines(self) -> int:
        """Machines of the cluster, on each of which there may be several nodes; 1 without one."""
        return max(1, len({each.ip for each in self.nodes}))

    @property
    def application(self) -> dict[str, Any]:
        """The application as Serve tells of it.

        Raises:
            Unseen: if it does not, or there is none.
        """
        applications = seen(self.serve).details.get("applications", {})
        if APPLICATION not in applications:
            raise Unseen(f"Serve runs no application {APPLICATION}.")
        found: dict[str, Any] = applications[APPLICATION]
        return found

    @property
    def declared(self) -> Declared:
        """The configuration that counts: the deployed one if a server tells it."""
        try:
            application = self.application
        except Unseen:
            return _of_file(self.config, self.document)
        details = seen(self.serve).details
        return Declared(
            source="the running server",
            args=(application.get("deployed_app_config") or {}).get("args") or {},
            deployments={
                name: each["deployment_config"] for name, each in application["deployments"].items()
            },
            http_options=details.get("http_options") or {},
            grpc_options=details.get("grpc_options") or {},
        )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """This process has the server's stores and models, not those of the shell."""
        before = {name: os.environ.get(name) for name in PLACES}
        try:
            _set({name: self.environment.get(name) for name in PLACES})
            yield
        finally:
            _set(before)


def look_around(config: Path, url: str | None, dashboard_url: str | None) -> Surroundings:
    """Look for a server and what can be known of it.

    Args:
        config: a Serve configuration such as `serve_config.yaml`.
        url: of the server; None takes the port of the configuration on this machine.
        dashboard_url: of Ray's dashboard; None finds it.

    Raises:
        InvalidConfiguration: if the file cannot be read or is no such thing, or an address is none.
    """
    document = read_serve_config(config)
    options = document.get("http_options") or {}
    address = _checked(url or f"http://127.0.0.1:{options.get('port', 8000)}")
    processes = find_processes(address)
    found = () if isinstance(processes, Unseen) else processes
    environment = _environment(found)
    named = None if dashboard_url is None else _checked(dashboard_url)
    dashboard = named or _dashboard(found) or f"http://127.0.0.1:{DASHBOARD_PORT}"
    health = _ask_health(address)
    serve: ServeState | Unseen
    if isinstance(health, Unseen) and not found and dashboard_url is None:
        processes = serve = health  # the reason that says most
    else:
        serve = ask_dashboard(dashboard, environment)
    return Surroundings(
        config=config,
        document=document,
        url=address,
        named=url is not None,
        environment=environment,
        health=health,
        processes=processes,
        serve=serve,
    )


def _checked(url: str) -> str:
    """An address, without the slash at its end."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        valid = False
    if not valid:
        raise InvalidConfiguration(f"{url!r} is no address of a server, as http://127.0.0.1:8000.")
    return url.rstrip("/")


def _of_file(path: Path, document: dict[str, Any]) -> Declared:
    applications = {each.get("name"): each for each in document["applications"]}
    application = applications.get(APPLICATION, {})
    return Declared(
        source=str(path),
        args=application.get("args") or {},
        deployments={each["name"]: each for each in application.get("deployments") or []},
        http_options=document.get("http_options") or {},
        grpc_options=document.get("grpc_options") or {},
    )


def _environment(processes: tuple[ServerProcess, ...]) -> Mapping[str, str]:
    """A replica's, which holds what it inherited; without one, what a server would get here."""
    for process in processes:
        if process.is_replica:
            return process.environment
    for process in processes:
        if process.role in ("raylet", "gcs"):
            return process.environment
    return {**os.environ, **ray_environment()}


def _dashboard(processes: tuple[ServerProcess, ...]) -> str | None:
    """The address in the dashboard's command line."""
    for process in processes:
        if process.role == "dashboard" and (port := re.search(r"--port=(\d+)", process.title)):
            host = re.search(r"--host=(\S+)", process.title)
            address = host[1] if host and host[1] not in ("0.0.0.0", "::") else "127.0.0.1"
            return f"http://{address}:{port[1]}"
    return None


def _ask_health(url: str) -> Health | Unseen:
    try:
        response = httpx.get(f"{url}/health", timeout=HEALTH_TIMEOUT_S)
        document = response.json()
    except httpx.HTTPError:
        return Unseen("No server answers.")
    except ValueError:
        return Unseen("What answers is no DermServe.")
    if not isinstance(document, dict):
        return Unseen("What answers is no DermServe.")
    return Health(response.status_code, document)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
