"""`dermserve doctor`: what is wrong with this machine, the configuration and the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def doctor(
    config: Annotated[
        Path, typer.Option(help="Serve configuration that the server has, or is to have.")
    ] = Path("serve_config.yaml"),
    url: Annotated[
        str | None,
        typer.Option(
            envvar="DERMSERVE_URL",
            help="The server, which then has to answer; else the configuration's port here.",
        ),
    ] = None,
    dashboard_url: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_DASHBOARD_ADDRESS",
            help="Ray's dashboard; else that of the server on this machine.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Look at this machine, the configuration and the running server, and say what to mend.

    It changes nothing, but that it writes a few bytes into the image store and removes them again.
    It ends with 1 if something is wrong, else with 0; warnings and what could not be checked do not
    count.

    Example: dermserve doctor

    Example: dermserve doctor --json | jq '.findings[] | select(.verdict == "wrong")'
    """
    with Console(stderr=True).status("Looking around ...") as status:
        from cluster.doctor.examination import examine
        from cluster.doctor.report import counts, document, summary, table
        from cluster.doctor.surroundings import look_around

        examined = examine(
            look_around(config, url, dashboard_url),
            on_subject=lambda title: status.update(f"Looking: {title} ..."),
        )
    if as_json:
        typer.echo(json.dumps(document(examined), indent=2))
    else:
        console = Console()
        console.print(table(examined))
        console.print()
        console.print(summary(examined))
    if counts(examined)["wrong"]:
        raise typer.Exit(1)
