"""A server on this machine, which others may join: Ray, the applications, and their orderly end."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from cluster.addresses import DASHBOARD_PORT, HEAD_PORT
from cluster.drain import drain, end
from cluster.edge import MAX_REQUESTS_VARIABLE
from cluster.environment import ray_environment
from cluster.listening import check_listening
from cluster.pem_file import remove_pem
from cluster.places import check_shared, places
from cluster.tls import PORT_VARIABLE, Tls, check_tls
from data.catalogue.database import CATALOGUE_VARIABLE
from models.configuration import read_serve_config, validate
from models.errors import DermServeError
from serve_app.settings import ServeSettings
from training.promotion.serve_config import APPLICATION

GCS_PORT_VARIABLE = "RAY_GCS_SERVER_PORT"

# Our replicas reserve fractions of a CPU; two logical ones hold the chain on any machine.
_MIN_LOGICAL_CPUS = 2
_POLL_S = 0.25
_VITAL = ("gcs_server", "raylet")

_ONE_MACHINE = {
    # How long a leaving ingress replica waits for the proxies to hear of it. Ray's 30 s
    # suit a cluster; here the only proxy is on the same machine.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
}


class StartFailed(DermServeError):
    """The server did not come up."""

    code = "start_failed"


class LocalServer:
    """Starts Ray and deploys a Serve configuration; use it as a context manager.

    Everything it starts ends with it, also if this process is killed.

    Args:
        config: a Serve configuration such as `serve_config.yaml`.
        port: of HTTP, instead of the configuration's.
        grpc_port: of gRPC, if the configuration has that; by default the configuration's, or a
            free one if a server has that.
        dashboard_port: of the Ray dashboard, on 127.0.0.1.
        node_ip: address of this machine at which others join (`dermserve node`), on `HEAD_PORT`;
            None keeps Ray on 127.0.0.1.
        environment: variables on top of `ray.env`.
    """

    def __init__(
        self,
        config: Path,
        *,
        port: int | None = None,
        grpc_port: int | None = None,
        dashboard_port: int = DASHBOARD_PORT,
        node_ip: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.config = read_serve_config(config)
        http = self.config.setdefault("http_options", {})
        http["host"] = http.get("host", "127.0.0.1")
        http["port"] = port or http.get("port", 8000)
        self.url = f"http://127.0.0.1:{http['port']}"
        self.grpc_address = self._choose_grpc_port(grpc_port)
        self.dashboard_url = f"http://127.0.0.1:{dashboard_port}"
        self.node_ip = node_ip
        self.environment = {
            **ray_environment(several_machines=node_ip is not None),
            **(_ONE_MACHINE if node_ip is None else {GCS_PORT_VARIABLE: str(HEAD_PORT)}),
            **_haproxy_ports(),
            MAX_REQUESTS_VARIABLE: str(_settings(self.config).max_waiting),
            # Replicas work in other folders; all are to mean the same places.
            **places(),
            **(environment or {}),
        }
        if node_ip is not None:
            check_shared(self.environment)
        self._dashboard_port = dashboard_port
        self._nodes: list[str] = []
        self.tls: Tls | None = None
        """What HAProxy encrypts; known once the server is entered."""

    def __enter__(self) -> LocalServer:
        check_listening(
            self.config["http_options"],
            self.environment[CATALOGUE_VARIABLE],
            haproxy=self.environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1",
        )
        # HAProxy's own process checks this too, but what that says stands in a log of Ray's.
        environment = {**os.environ, **self.environment}
        self.tls = check_tls(environment, self.environment[CATALOGUE_VARIABLE])
        if self.tls is not None:
            _require_free(self.tls.port, "HTTPS")
        for port, what in (
            (self.config["http_options"]["port"], "the server"),
            (self._dashboard_port, "the Ray dashboard"),
        ):
            _require_free(port, what)
        if self.grpc_address is not None:
            _require_free(self.config["grpc_options"]["port"], "gRPC")
        if self.node_ip is not None:
            _require_own(self.node_ip)
        os.environ.update(self.environment)
        import ray  # reads the environment when imported

        ray.init(
            address="local",
            _node_ip_address=self.node_ip,
            num_cpus=max(_MIN_LOGICAL_CPUS, os.cpu_count() or 1),
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=self._dashboard_port,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        self._nodes = [node["NodeID"] for node in ray.nodes()]  # type: ignore[no-untyped-call]
        if ray.cluster_resources().get("GPU"):  # type: ignore[no-untyped-call]
            for application in self.config["applications"]:
                if application["name"] == APPLICATION:
                    application.setdefault("args", {}).setdefault("classifier_gpus", 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import ray
        from ray import serve
        from ray._private import worker
        from ray.serve._private.constants import (
            RAY_SERVE_HAPROXY_CONFIG_FILE_LOC,
            RAY_SERVE_HAPROXY_SOCKET_PATH,
        )

        socket_path = Path(RAY_SERVE_HAPROXY_SOCKET_PATH)
        sockets = [socket_path.parent / node / socket_path.name for node in self._nodes]
        lost = self.lost()
        try:
            if lost is None:
                drain(sockets)
                serve.shutdown()  # type: ignore[no-untyped-call]
        finally:
            if lost is None:
                ray.shutdown()
            else:  # which would wait for what is gone
                worker.global_worker.node.kill_all_processes(  # type: ignore[union-attr]
                    check_alive=False, wait=True
                )
            end(sockets)  # what outlived its manager would keep the port
            for node in self._nodes:  # where Ray has each node's HAProxy
                remove_pem(Path(RAY_SERVE_HAPROXY_CONFIG_FILE_LOC).parent / node)

    def lost(self) -> str | None:
        """Which of Ray's own processes has ended and taken the server with it; None if none has."""
        from ray._private import worker

        node = worker.global_worker.node
        ended = {kind for kind, _ in node.dead_processes()} if node is not None else set()
        return next((kind for kind in _VITAL if kind in ended), None)

    def deploy(self) -> None:
        """Put the configuration: what is running becomes what it says."""
        self._client().deploy_applications(self.config)

    def wait_until_ready(
        self, timeout_s: float, on_status: Callable[[str], None] = lambda status: None
    ) -> None:
        """Return when the applications run and the model is loaded.

        Args:
            timeout_s: longest wait.
            on_status: told the state of the deployments, again and again.

        Raises:
            StartFailed: if the deployment fails or the time is over.
        """
        client = self._client()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            details = client.get_serve_details()["applications"]
            applications = [details.get(each["name"], {}) for each in self.config["applications"]]
            states = {
                name: deployment["status"]
                for application in applications
                for name, deployment in application.get("deployments", {}).items()
            }
            on_status(", ".join(f"{name} {state.lower()}" for name, state in states.items()))
            for application in applications:
                if application.get("status") in ("DEPLOY_FAILED", "UNHEALTHY"):
                    raise StartFailed(
                        f"The application {application['name']} failed to start. "
                        f"{application.get('message')}"
                    )
            running = all(each.get("status") == "RUNNING" for each in applications)
            if running and self._is_ready():
                return
            time.sleep(_POLL_S)
        raise StartFailed(
            f"The server is not ready after {timeout_s:.0f} s. Its logs are in "
            "/tmp/ray/session_latest/logs/serve."
        )

    def _choose_grpc_port(self, port: int | None) -> str | None:
        """The address of gRPC on this machine; None if the configuration has none."""
        options = self.config.get("grpc_options") or {}
        if not options.get("grpc_servicer_functions"):
            return None
        configured = options.get("port", 9000)
        options["port"] = port or (configured if _is_free(configured) else _free_port())
        return f"127.0.0.1:{options['port']}"

    def _is_ready(self) -> bool:
        """Whether `/health/ready` says so; a missing model also ends the wait, with its reason."""
        try:
            response = httpx.get(f"{self.url}/health/ready", timeout=10)
        except httpx.HTTPError:
            return False
        if "model_unavailable" in response.text:
            raise StartFailed(response.json()["error"]["message"])
        return response.status_code == 200

    def _client(self) -> Any:
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        return ServeSubmissionClient(self.dashboard_url)


def _settings(config: dict[str, Any]) -> ServeSettings:
    """The settings of the application, the default ones if there is none."""
    applications = {each["name"]: each.get("args") or {} for each in config["applications"]}
    return validate(applications.get(APPLICATION, {}), ServeSettings, "The application's args")


def _haproxy_ports() -> dict[str, str]:
    """Ports of HAProxy's statistics and metrics: Ray's, or free ones if a server has those."""
    return {
        variable: str(port if _is_free(port) else _free_port())
        for variable, port in (
            ("RAY_SERVE_HAPROXY_STATS_PORT", 8404),
            ("RAY_SERVE_HAPROXY_METRICS_PORT", 9101),
        )
        if variable not in os.environ
    }


def _require_own(address: str) -> None:
    """Refuse an address of another machine, of which Ray would say nothing for a minute."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            # Connections of a head that has just ended linger, and do no harm.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, HEAD_PORT))
    except OSError as error:
        raise StartFailed(
            f"Other machines cannot join at {address}:{HEAD_PORT}: {error.strerror or error}. Name "
            "an address of this machine with --node-ip, and stop what else uses the port."
        ) from error


def _require_free(port: int, what: str) -> None:
    if not _is_free(port):
        raise StartFailed(
            f"Port {port} for {what} is taken. Stop the program that uses it, or choose "
            f"another with --port, --grpc-port, --dashboard-port or {PORT_VARIABLE}."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
