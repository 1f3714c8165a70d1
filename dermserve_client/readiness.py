"""Readiness: whether the server answers predictions, and how it is asked."""

from __future__ import annotations

from typing import Any

import httpx

from dermserve_client.answer import Answer, as_model
from dermserve_client.call import Call
from dermserve_client.errors import Refused, Unavailable, error_of
from dermserve_client.retries import Retries

_LOOK_EVERY_S = 0.5


class Health(Answer):
    """What serves, on what, and what waits."""

    status: str
    """`ok`, `not_ready` or `unreachable`."""
    reason: str | None = None
    uptime_s: float
    model: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    load_error: str | None = None
    """Why the last model change failed."""
    standby: str | None = None
    """The version that is kept warm for a change without loading."""
    standby_error: str | None = None
    """Why there is none, if one is wished for."""
    waiting: int = 0
    """Images in progress in the ingress replica that answered."""
    data_path: dict[str, str]


class ServiceInfo(Answer):
    """Which server this is."""

    name: str
    """`DermServe`."""
    version: str
    """Of the server's program; `Health.model` has that of the model."""
    disclaimer: str


def service_info() -> Call[ServiceInfo]:
    """Tell which server this is, and what its answers are not for.

    Returns:
        `ServiceInfo`.

    Raises:
        UnexpectedAnswer: if it is no DermServe server.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call("GET", "/", as_model(ServiceInfo), repeatable=True)


def health() -> Call[Health]:
    """Tell which model serves, on what engine, and what waits.

    Returns:
        `Health`.

    Raises:
        DermServeError: what may go wrong on the way.
    """
    return Call("GET", "/health", as_model(Health), repeatable=True)


def ready() -> Call[bool]:
    """Tell whether the server can answer predictions now; asks once.

    Returns:
        True when a model is loaded, warmed up and self-tested.

    Raises:
        Unreachable: if nobody answers at all.
        DermServeError: its root, and of what else may go wrong on the way.
    """
    return Call("GET", "/health/ready", lambda response: True, read_error=_not_ready)


def wait_until_ready(timeout_s: float = 120.0) -> Call[Health]:
    """Wait until the server can answer predictions; it need not even have started.

    Args:
        timeout_s: longest wait.

    Returns:
        `Health`.

    Raises:
        Unreachable: if nobody answers in that time.
        Unavailable: if the server is still not ready then; it says why.
        DermServeError: their root, and of what else may go wrong on the way.
    """
    return Call(
        "GET",
        "/health/ready",
        as_model(Health),
        read_error=_not_ready_yet,
        repeatable=True,
        retries=Retries(timeout_s, first_s=_LOOK_EVERY_S, longest_s=_LOOK_EVERY_S),
    )


def _not_ready(response: httpx.Response) -> bool:
    if isinstance(error := _starting(response), Unavailable):
        return False
    raise error


def _not_ready_yet(response: httpx.Response) -> Health:
    raise _starting(response)


def _starting(response: httpx.Response) -> Refused:
    """An error of `/health/ready`; `Unavailable` if it says that the server is not up yet."""
    error = error_of(response)
    # Serve's proxy has no route at all before the application runs.
    if isinstance(error, Unavailable) or error.code == "http_404":
        # Without the server's advice, which is made for predictions, and long.
        return Unavailable(error.message, code=error.code, request_id=error.request_id)
    return error
