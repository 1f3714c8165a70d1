"""`dermserve down`: the end of the server that `dermserve up` has started here."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from cluster.duration import duration
from cluster.exit_code import CommandFailed, ExitCode, usage_error
from cluster.printable import printable, say

if TYPE_CHECKING:
    from cluster.running_server import RunningServer


def down(
    port: Annotated[
        int | None,
        typer.Option(help="Of the server, if you run several.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 120.0,
) -> None:
    """End the server that you have started on this machine with `dermserve up`.

    It takes no further requests, and has half a minute to finish those that it has accepted.
    Nothing else is ended: no other user's server, and no Ray cluster that was started in another
    way. Exit code 3 if there is none.

    Example: dermserve down
    """
    from cluster.running_server import running_servers

    server = _chosen(running_servers(), port)
    record = server.record
    age = duration((datetime.now(timezone.utc) - record.started).total_seconds())
    what = f"{record.url} (process {record.pid}, started {age} ago)"
    with Console(stderr=True).status(f"Ending {printable(what)} ..."):
        ended = server.end(timeout)
    if not ended:
        raise CommandFailed(
            f"The server {what} has been asked to stop and has not after {timeout:g} s; it may "
            "still finish requests. Wait longer with --timeout, or end the process."
        )
    say(f"Stopped {what}.", error=False)


def _chosen(servers: list[RunningServer], port: int | None) -> RunningServer:
    wanted = [each for each in servers if port in (None, urlsplit(each.record.url).port)]
    if not wanted:
        where = "" if port is None else f" on port {port}"
        raise CommandFailed(
            f"No server that you have started with `dermserve up` runs{where} on this machine. One "
            "in a container or a service is ended by what started it.",
            ExitCode.NO_SERVER,
        )
    if len(wanted) > 1:
        ports = ", ".join(str(urlsplit(each.record.url).port) for each in wanted)
        raise usage_error(f"You run {len(wanted)} servers. Choose one with --port: {ports}.")
    return wanted[0]
