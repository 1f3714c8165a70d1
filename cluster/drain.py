"""Draining: HAProxy takes no further requests and answers those that it has.

Serve's own shutdown kills HAProxy first, and with it every request that is under way.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from cluster.admin_socket import AdminSocket

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 35.0
"""Longest wait for requests under way; Serve gives none more than 30 s."""
QUIET_S = 1.0
"""Without a request, after which there are none: clients that hold a connection open may still
send on it, and are answered once more."""

_POLL_S = 0.05


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
                proxies.append(held.enter_context(AdminSocket(path)))
        for proxy in proxies:
            _stop_softly(proxy)
        deadline = time.monotonic() + timeout_s
        last_busy = time.monotonic()
        while True:
            busy, now = sum(map(_under_way, proxies)), time.monotonic()
            if busy:
                last_busy = now
            if now - last_busy >= QUIET_S or now >= deadline:
                break
            time.sleep(_POLL_S)
    if busy:
        logger.error("%d requests were under way when the server ended", busy)
    return busy


def end(admin_sockets: Iterable[Path]) -> None:
    """Kill the HAProxies that still answer."""
    for path in admin_sockets:
        with suppress(OSError), AdminSocket(path) as proxy:
            os.kill(proxy.pid(), signal.SIGKILL)


def _stop_softly(proxy: AdminSocket) -> None:
    """Have it close its doors, and end when its connections have."""
    with suppress(OSError):  # it has ended
        os.kill(proxy.pid(), signal.SIGUSR1)


def _under_way(proxy: AdminSocket) -> int:
    """Requests that it has; 0 once it has ended."""
    try:
        return proxy.under_way()
    except OSError:
        return 0
