"""`dermserve node`: this machine joins a running server, and carries some of its load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.environment import haproxy_problem, ray_environment
from cluster.places import check_shared, places
from cluster.reachable import check_reachable
from models.errors import InvalidConfiguration

NODE_IP_VARIABLE = "DERMSERVE_NODE_IP"
"""Environment variable: address of this machine, for the others of a cluster."""

STOP_TIMEOUT_S = 60.0
"""Longest wait for Ray's processes to end."""


def node(
    address: Annotated[
        str, typer.Option(help="Of the head, as `dermserve up --node-ip` names it: HOST:6379.")
    ],
    node_ip: Annotated[
        str | None,
        typer.Option(
            envvar=NODE_IP_VARIABLE,
            help="Address of this machine for the others; by default the one that it reaches the "
            "head from.",
        ),
    ] = None,
    num_cpus: Annotated[
        int | None, typer.Option(min=0, help="Logical CPUs to offer, instead of this machine's.")
    ] = None,
) -> None:
    """Join this machine to a server on another one; Ctrl-C takes it away again.

    It needs the token of the head and the DERMSERVE_* variables that the head has.

    Example: dermserve node --address 10.0.0.1:6379
    """
    console = Console()
    environment = node_environment()
    check_reachable(address)
    if (problem := haproxy_problem()) is not None:
        console.print(f"[yellow]Requests go through Ray's Python proxy, not HAProxy. {problem}")
    process = subprocess.Popen(
        _command(address, node_ip, num_cpus),
        env=environment,
        # Ctrl-C is for us, who tell it.
        start_new_session=True,
    )

    def stop(number: int, frame: object) -> None:
        process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    raise typer.Exit(process.wait())


def node_environment() -> dict[str, str]:
    """The environment of Ray's processes on a machine that joins others.

    Raises:
        InvalidConfiguration: if a place is not shared, or if there is no token.
    """
    environment = {**os.environ, **ray_environment(several_machines=True), **places()}
    check_shared(environment)
    token = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not environment.get("RAY_AUTH_TOKEN") and not token.is_file():
        raise InvalidConfiguration(
            f"This machine has no token of Ray's in {token}. Copy the head's file there, or what "
            "`ray get-auth-token` prints on the head; only you should be able to read it."
        )
    return environment


def _command(address: str, node_ip: str | None, num_cpus: int | None) -> list[str]:
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start"),
        *(f"--address={address}", "--block", "--disable-usage-stats"),
    ]
    if node_ip is not None:
        command.append(f"--node-ip-address={node_ip}")
    if num_cpus is not None:
        command.append(f"--num-cpus={num_cpus}")
    return command
