"""A node: this machine among those of a server on another one, from joining to leaving."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from rich.console import Console

from cluster.environment import haproxy_problem, ray_environment
from cluster.leaving import LABEL, LEAVE_S, announce, wait_for_replicas
from cluster.places import check_shared, places
from cluster.reachable import Unreachable, check_reachable
from cluster.tls import check_tls
from data.catalogue.database import CATALOGUE_VARIABLE
from models.errors import InvalidConfiguration

SETTLED_S = 10.0
"""Where Ray ends sooner, it was never a node, and would end again."""

POLL_S = 0.2
"""Between two looks whether Ray still runs, and whether somebody wants it to end."""

AGAIN_S = 2.0
"""Between two looks for a head that is away."""


def join(address: str, node_ip: str | None, num_cpus: int | None) -> int:
    """Be a node until a signal ends it; the exit status.

    Args:
        address: of the head, HOST:PORT.
        node_ip: of this machine for the others; None for the one that it reaches the head from.
        num_cpus: logical CPUs to offer; None for this machine's.

    Raises:
        DermServeError: if it cannot join.
    """
    console = Console()
    environment = node_environment()
    check_tls(environment, environment[CATALOGUE_VARIABLE])
    check_reachable(address)
    if (problem := haproxy_problem()) is not None:
        console.print(f"[yellow]Requests go through Ray's Python proxy, not HAProxy. {problem}")
    os.environ.update(environment)  # for what this process asks the head
    label = uuid.uuid4().hex
    command = _command(address, node_ip, num_cpus, label)
    return _stay(command, environment, address, label, console)


def _stay(
    command: list[str], environment: dict[str, str], address: str, label: str, console: Console
) -> int:
    """Be a node until somebody ends this; the exit status.

    The head gives a machine up that it has not heard of for some seconds, and Ray ends there when
    it learns of that, as it does where the head stays away. So it joins again.
    """
    asked: list[int] = []  # to end, by these signals; a lock in their handler could block it
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.append(number))
    settled = False
    while True:
        started = time.monotonic()
        # Ctrl-C is for us, who tell it.
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        while process.poll() is None:
            if asked:
                return _leave(process, asked, address, label, console)
            time.sleep(POLL_S)
        settled = settled or time.monotonic() - started >= SETTLED_S
        if not settled:
            return process.returncode or 1
        console.print("[yellow]The head has given this machine up, or is away. Joining again ...")
        answers = False
        while not answers:  # it may answer before it takes nodes in, so wait at least once
            time.sleep(AGAIN_S)
            if asked:
                return 0
            answers = _answers(address)


def _leave(
    process: subprocess.Popen[bytes],
    asked: list[int],
    address: str,
    label: str,
    console: Console,
) -> int:
    if announce(address, label):
        console.print("Leaving: the replicas of this machine are started on others ...")
        wait_for_replicas(
            process.pid, LEAVE_S + SETTLED_S, lambda: process.poll() is not None or len(asked) > 1
        )
    process.terminate()
    process.wait()
    return 0


def _answers(address: str) -> bool:
    try:
        check_reachable(address)
    except Unreachable:
        return False
    return True


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


def _command(address: str, node_ip: str | None, num_cpus: int | None, label: str) -> list[str]:
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start"),
        *(f"--address={address}", "--block", "--disable-usage-stats"),
        f"--labels={LABEL}={label}",
    ]
    if node_ip is not None:
        command.append(f"--node-ip-address={node_ip}")
    if num_cpus is not None:
        command.append(f"--num-cpus={num_cpus}")
    return command
