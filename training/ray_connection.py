"""The connection to Ray that a run uses: the caller's, a running cluster's, or one of its own."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.errors import DermServeError

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

# Nothing large goes through the object store.
_OBJECT_STORE_BYTES = 100 * 2**20

_ANSWER_S = 5.0


class RayUnavailable(DermServeError):
    """The Ray cluster that RAY_ADDRESS names cannot be reached, or none could be started."""

    code = "ray_unavailable"


@contextmanager
def ray_connection() -> Iterator[None]:
    """Be connected to Ray while the block runs.

    A connection that exists is used and left alone. Otherwise RAY_ADDRESS names the cluster;
    without it, the cluster that runs on this machine is used, for example that of
    `dermserve up`, or one is started, without a dashboard, that ends with the block.

    Raises:
        RayUnavailable: if RAY_ADDRESS is set and nothing answers there, or if Ray does not
            start on this machine.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    _connect()
    try:
        yield
    finally:
        ray.shutdown()


def _connect() -> None:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    if address != "local":
        _require_answer(address or "auto")
        # Ray raises what it likes: no cluster, another version, another token.
        try:
            ray.init(address=address or "auto", **_QUIET)
            return
        except Exception as error:
            ray.shutdown()
            if address:
                raise RayUnavailable(_no_answer(address, error)) from error
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **_QUIET,
        )
    except Exception as error:
        ray.shutdown()
        raise RayUnavailable(
            f"Ray does not start on this machine: {_first_line(error)}. Try again when it is less "
            "busy, or train without Ray: --workers 0."
        ) from error


def _require_answer(address: str) -> None:
    """Refuse an address where nothing listens; Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise RayUnavailable(_no_answer(address, error)) from error


def _no_answer(address: str, error: Exception) -> str:
    return (
        f"No Ray cluster answers at RAY_ADDRESS={address}: {_first_line(error)}. Correct or unset "
        "it, or set it to local to train on this machine alone."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
