"""`dermserve up`: a server in the foreground until Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cluster.addresses import DASHBOARD_PORT

if TYPE_CHECKING:
    from cluster.server import LocalServer

READY_TIMEOUT_S = 180.0


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
) -> None:
    """Start Ray and the server on this machine; Ctrl-C or `dermserve down` stops both.

    Example: dermserve up --port 8080
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
    server = LocalServer(config, port=port, grpc_port=grpc_port, dashboard_port=dashboard_port)
    with (
        recorded(server.url, server.dashboard_url, config),
        console.status("Starting Ray ...") as status,
        server,
    ):
        server.deploy()
        server.wait_until_ready(
            READY_TIMEOUT_S, lambda states: status.update(f"Starting: {states or 'the proxy'} ...")
        )
        status.stop()
        console.print(_greeting(server, time.monotonic() - started), highlight=False)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        console.print("Stopping: finishing accepted requests ...")
    console.print("Stopped.")


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
        f"Ray dashboard  {server.dashboard_url} (its token: .venv/bin/ray get-auth-token)\n"
        "Stop with Ctrl-C."
    )
