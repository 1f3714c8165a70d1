"""Draining: HAProxy takes no further requests and answers those that it has.

Serve's own shutdown kills HAProxy first, and with it every request that is under way.
"""

from __future__ import annotations

import csv
import logging
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 35.0
"""Longest wait for requests under way; Serve gives none more than 30 s."""
QUIET_S = 1.0
"""Without a request, after which there are none: clients that hold a connection open may still
send on it, and are answered once more."""

_SOCKET_TIMEOUT_S = 5.0
_POLL_S = 0.05
_PROMPT = b"\n> "


def drain(admin_sockets: Iterable[Path], timeout_s: float = DRAIN_TIMEOUT_S) -> int:
    """Close the doors of some HAProxies, and wait until nothing is under way behind them.

    New connections are refused; those that are open get the answer to one request more, which
    closes them.

    Args:
        admin_sockets: of the HAProxies; one that nobody answers at has nothing under way.
        timeout_s: longest wait.

    Returns:
        Requests that were still under way at the end of the wait.
    """
    with ExitStack() as held:
        proxies = []
        for path in admin_sockets:
            with suppress(OSError):
                proxies.append(held.enter_context(_Proxy(path)))
        for proxy in proxies:
            proxy.stop_softly()
        deadline = time.monotonic() + timeout_s
        last_busy = time.monotonic()
        while True:
            busy, now = sum(proxy.under_way() for proxy in proxies), time.monotonic()
            if busy:
                last_busy = now
            if now - last_busy >= QUIET_S or now >= deadline:
                break
            time.sleep(_POLL_S)
    if busy:
        logger.error("%d requests were under way when the server ended", busy)
    return busy


class _Proxy:
    """A HAProxy, over one connection: it takes no new ones once it has been told to stop.

    Raises:
        OSError: if nobody answers.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_SOCKET_TIMEOUT_S)
            self._socket.connect(str(path))
            self._ask("prompt")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> _Proxy:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def stop_softly(self) -> None:
        """Have it close its doors, and end when its connections have."""
        for line in self._ask("show info").splitlines():
            name, _, value = line.partition(": ")
            if name == "Pid":
                with suppress(ProcessLookupError):
                    os.kill(int(value), signal.SIGUSR1)

    def under_way(self) -> int:
        """Requests that the replicas have or that wait for one; 0 once it has ended."""
        try:
            table = self._ask("show stat")
        except OSError:
            return 0
        rows = csv.DictReader(table.removeprefix("# ").splitlines())
        return sum(int(row["scur"] or 0) for row in rows if row["svname"] == "BACKEND")

    def _ask(self, command: str) -> str:
        """Raises: OSError: if it does not answer."""
        self._socket.sendall(f"{command}\n".encode())
        answer = b""
        while not answer.endswith(_PROMPT):
            if not (part := self._socket.recv(1 << 16)):
                raise ConnectionResetError("HAProxy has ended")
            answer += part
        return answer.decode().removesuffix(_PROMPT.decode())
