"""Whether something answers at an address, found out in seconds; Ray would try for minutes."""

from __future__ import annotations

import socket

from models.errors import DermServeError, InvalidConfiguration

ANSWER_S = 5.0
"""Longest wait for a connection."""


class Unreachable(DermServeError):
    """Nothing answers at the address of the head."""

    code = "unreachable"


def check_reachable(address: str) -> None:
    """Connect once to the head.

    Args:
        address: HOST:PORT.

    Raises:
        InvalidConfiguration: if it is none.
        Unreachable: if nothing answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidConfiguration(
            f"{address!r} is no address of a head. Write HOST:PORT, as in 10.0.0.1:6379."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        raise Unreachable(
            f"No head answers at {address}: {error.strerror or error}. Start it with `dermserve up "
            "--node-ip ADDRESS`, and let this machine through to all of its ports."
        ) from error
