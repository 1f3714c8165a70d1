"""`dermserve node`: this machine joins a running server, and carries some of its load."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.addresses import NODE_IP_VARIABLE


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

    It goes when its replicas have been started elsewhere; a second Ctrl-C does not wait for that.
    It needs the token of the head and the DERMSERVE_* variables that the head has.

    Example: dermserve node --address 10.0.0.1:6379
    """
    # It takes a moment to import; the other commands do not need it.
    from cluster.node import join

    raise typer.Exit(join(address, node_ip, num_cpus))
