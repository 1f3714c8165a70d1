"""The way to a server: its address, and what goes wrong on the way as a sentence and a code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.exit_code import CommandFailed, ExitCode, usage_error

if TYPE_CHECKING:
    from dermserve_client import Client, DermServeError

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="DERMSERVE_URL",
        help="Address of the server. A key for it is taken from DERMSERVE_API_KEY alone: what is "
        "typed here, other users of the machine can read.",
    ),
]


@contextmanager
def server(
    url: str, *, patience_s: float = 15.0, timeout_s: float = 60.0, must_answer: bool = True
) -> Iterator[Client]:
    """A client of a server, whose failures end the command.

    Args:
        url: of the server.
        patience_s: how long to repeat what may be repeated, when the server is busy or gone.
        timeout_s: longest silence of the server.
        must_answer: ask for its health before anything else, without patience, so that an address
            where nothing runs is told at once.

    Raises:
        CommandFailed: for whatever the client raises while the block runs.
    """
    from dermserve_client import Client, DermServeError, Retries

    try:
        client = Client(url, timeout_s=timeout_s, retries=Retries(total_s=patience_s))
    except ValueError as error:
        raise usage_error(f"{error} See --url and DERMSERVE_API_KEY.") from error
    try:
        with client:
            if must_answer:
                with Client(url, timeout_s=timeout_s, retries=Retries(total_s=0)) as hasty:
                    hasty.health()
            yield client
    except DermServeError as error:
        raise failure(error, url) from error


def failure(error: DermServeError, url: str) -> CommandFailed:
    """A failure of the client as the error that ends a command."""
    import httpx

    from dermserve_client import AccessDenied, UnexpectedAnswer, Unreachable

    if isinstance(error, Unreachable):
        if isinstance(error.__cause__, httpx.ConnectError):
            return CommandFailed(
                f"No server answers at {url}. Start one with `dermserve up`, or name another with "
                "--url or DERMSERVE_URL.",
                ExitCode.NO_SERVER,
            )
        return CommandFailed(str(error), ExitCode.NO_SERVER)
    if isinstance(error, UnexpectedAnswer):
        return CommandFailed(f"{error} Is {url} a DermServe server?", ExitCode.NO_SERVER)
    if isinstance(error, AccessDenied):
        if error.code == "unauthenticated":
            return CommandFailed(
                "The server wants an API key. Put yours into the variable DERMSERVE_API_KEY; "
                "whoever runs the server makes keys with `dermserve keys create`.",
                ExitCode.NO_ACCESS,
            )
        return CommandFailed(str(error), ExitCode.NO_ACCESS)
    return CommandFailed(str(error), ExitCode.REFUSED)
