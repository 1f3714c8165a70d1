"""`dermserve keys`: who may use the server, and for what."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.catalogue.api_key import ApiKey, Role

if TYPE_CHECKING:
    from data.catalogue.keys import Keys

_ACTOR = "cli"

app = typer.Typer(help="Make, list and revoke the API keys of the server.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[
        str, typer.Option(help="What the key is for, as you will read it in the list.")
    ],
    role: Annotated[list[Role], typer.Option(help="What it may do; give it once for each role.")],
    days: Annotated[
        float | None, typer.Option(help="After which it opens nothing; never if left out.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Instead of the server's default.")
    ] = None,
    bytes_per_minute: Annotated[
        int | None, typer.Option(help="Of request bodies, instead of the server's default.")
    ] = None,
) -> None:
    """Make a key and print it, once: the server keeps no more than a hash of it.

    The key is the only line on standard output, so that it can go straight into a file.

    Example: dermserve keys create --name ward-7 --role predict --role upload --days 90
    """
    created = _keys().create(
        name,
        role,
        _ACTOR,
        expires_in_days=days,
        requests_per_minute=requests_per_minute,
        bytes_per_minute=bytes_per_minute,
    )
    Console(stderr=True).print(
        f"Key {created.key.id} for {', '.join(sorted(created.key.roles))}. It is shown this once, "
        "and a running server takes it within seconds. Send it as `Authorization: Bearer KEY`:",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    typer.echo(created.text)


@app.command("list")
def list_keys() -> None:
    """List the keys, also those that open nothing any more.

    Example: dermserve keys list
    """
    from data.catalogue.database import Database
    from data.catalogue.keys import Keys

    database = Database()
    table = Table(
        "id", "name", "roles", "state", "made (UTC)", "expires (UTC)", "limits per minute"
    )
    for key in Keys(database).all():
        ends = "" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
        shown = (
            key.id,
            key.name,
            ", ".join(sorted(key.roles)),
            key.ended(datetime.now(timezone.utc)) or "valid",
            f"{key.created:%Y-%m-%d %H:%M}",
            ends,
            _limits(key),
        )
        # As text, not markup: a name may hold brackets.
        table.add_row(*(Text(value, overflow="fold") for value in shown))
    Console().print(table)
    Console().print(f"Catalogue: {database}.", markup=False, highlight=False, soft_wrap=True)


@app.command()
def revoke(
    key_id: Annotated[
        str, typer.Argument(metavar="ID", help="Of a key, as `dermserve keys list` has it.")
    ],
) -> None:
    """Let a key open nothing any more, within seconds also on a running server.

    Example: dermserve keys revoke 0123456789ab
    """
    key = _keys().revoke(key_id, _ACTOR)
    Console().print(
        f"Key {key.id} ({key.name}) opens nothing any more.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _keys() -> Keys:
    # SQLAlchemy takes a moment to import; the other commands do not need it.
    from data.catalogue.database import Database
    from data.catalogue.keys import Keys

    return Keys(Database())


def _limits(key: ApiKey) -> str:
    limits = ((key.requests_per_minute, "requests"), (key.bytes_per_minute, "bytes"))
    return ", ".join(f"{limit} {what}" for limit, what in limits if limit is not None) or "default"
