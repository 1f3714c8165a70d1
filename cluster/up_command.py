"""`dermserve up`: a server in the foreground until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cluster.addresses import DASHBOARD_PORT, HEAD_PORT, NODE_IP_VARIABLE

if TYPE_CHECKING:
    from cluster.server import LocalServer

READY_TIMEOUT_S = 180.0
_WATCH_S = 0.5
_SETTLED_S = 60.0
"""Where Ray ends sooner, it would end again."""


def up(
    config: Annotated[Path, typer.Option(help="Serve configuration.")] = Path("serve_config.yaml"),
    port: Annotated[
        int | None, typer.Option(help="HTTP port, instead of the configuration's.")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="gRPC port; without it the configuration's, or a free one."),
    ] = None,
    dashboard_port: Annotated[int, typer.Option(help="Port of the Ray dashboard.")] = (
        DASHBOARD_PORT
    ),
    node_ip: Annotated[
        str | None,
        typer.Option(
            envvar=NODE_IP_VARIABLE,
            help="Address of this machine at which others join with `dermserve node`; without it, "
            "Ray listens on this machine alone.",
        ),
    ] = None,
) -> None:
    """Start Ray and the server on this machine; Ctrl-C or `dermserve down` stops both.

    SIGTERM stops them too. Requests that were accepted are answered first. If Ray itself breaks,
    the server starts again.

    Examples:

    dermserve up --port 8080

    dermserve up --config configs/cluster.yaml --node-ip 10.0.0.1
    """
    # These take a moment to import; the other commands do not need them.
    from cluster.environment import haproxy_problem
    from cluster.running_server import recorded
    from cluster.server import LocalServer

    console = Console()
    _interrupt_once()
    started = time.monotonic()
    if (problem := haproxy_problem()) is not None:
        console.print(f"[yellow]Requests go through Ray's Python proxy, not HAProxy. {problem}")
    server = LocalServer(
        config,
        port=port,
        grpc_port=grpc_port,
        dashboard_port=dashboard_port,
        node_ip=node_ip,
    )
    with (
        recorded(server.url, server.dashboard_url, config),
        console.status("Starting Ray ...") as status,
        server,
    ):
        _interrupt_once()  # Ray has put its own handler in place, which ends without a farewell
        server.deploy()
        server.wait_until_ready(
            READY_TIMEOUT_S, lambda states: status.update(f"Starting: {states or 'the proxy'} ...")
        )
        status.stop()
        console.print(_greeting(server, time.monotonic() - started), highlight=False)
        lost = None
        with contextlib.suppress(KeyboardInterrupt):
            while (lost := server.lost()) is None:
                time.sleep(_WATCH_S)
        if lost is None:
            console.print("Stopping: finishing accepted requests ...")
        else:
            console.print(f"[red]Ray's process {lost} has ended, and the server with it.[/] ...")
    if lost is None:
        console.print("Stopped.")
        return
    if time.monotonic() - started < _SETTLED_S:
        console.print("It had just begun. Look at /tmp/ray/session_latest/logs.")
        raise typer.Exit(1)
    console.print("Starting again ...")
    # A fresh process: what Ray left behind in this one would be in the way of the next Ray.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _interrupt_once() -> None:
    """The first Ctrl-C or SIGTERM raises KeyboardInterrupt; later ones let it stop in peace."""

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _greeting(server: LocalServer, seconds: float) -> str:
    from data.synthetic import synthetic_jpeg

    joining = server.node_ip and (
        f"Other machines  dermserve node --address {server.node_ip}:{HEAD_PORT}\n"
    )
    tls = server.tls and f"HTTPS          port {server.tls.port} of {server.tls.host}\n"
    sample = Path("var/sample.jpg")
    sample.parent.mkdir(exist_ok=True)
    sample.write_bytes(synthetic_jpeg("nv", seed=1))
    return (
        f"[bold]DermServe is ready[/] at {server.url} after {seconds:.1f} s. Try:\n\n"
        f"  curl -F file=@{sample} {server.url}/predict\n\n"
        f"API            {server.url}/docs\n"
        f"gRPC           {server.grpc_address or 'not in the configuration'}\n"
        f"{tls or ''}"
        f"{joining or ''}"
        f"Ray dashboard  {server.dashboard_url} (its token: .venv/bin/ray get-auth-token)\n"
        "Stop with Ctrl-C."
    )
