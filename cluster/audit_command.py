"""`dermserve audit`: the log of all that was done to uploads, runs and versions."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = typer.Typer(help="Verify and list the audit log of the catalogue.", no_args_is_help=True)


@app.command()
def verify(
    expect: Annotated[
        str | None,
        typer.Option(help="A hash that was once the newest; the log must still hold its row."),
    ] = None,
) -> None:
    """Find out whether a row of the log was changed, removed or put in.

    Example: dermserve audit verify
    """
    # SQLAlchemy takes a moment to import; the other commands do not need it.
    from data.catalogue.audit import verify as verify_log
    from data.catalogue.database import Database

    database = Database()
    report = verify_log(database, expect)
    _say(f"All {report.rows} rows of the audit log in {database} are as they were written.")
    _say(
        f"The newest hash is {report.head}. Keep it where the server cannot write: with "
        f"`--expect HASH`, a log that was cut short or written anew is found too."
    )


@app.command("list")
def list_entries(
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Number of rows.")] = 20,
    full: Annotated[
        bool, typer.Option("--full", help="All details as JSON, also the gate's rules.")
    ] = False,
) -> None:
    """List the newest rows, the newest last; `verify` says whether they can be trusted.

    Example: dermserve audit list --last 50
    """
    from data.catalogue.audit import latest
    from data.catalogue.database import Database

    database = Database()
    table = Table("row", "time (UTC)", "event", "by", "details")
    for entry in latest(database, last):
        details = entry.details if full else _in_short(entry.details)
        shown = (str(entry.number), entry.time[:19], entry.event, entry.actor, details)
        # As text, not markup: details may hold brackets.
        table.add_row(*(Text(value, overflow="fold") for value in shown))
    Console().print(table)
    _say(f"Catalogue: {database}.")


def _in_short(details: str) -> str:
    """The plain values among the details; a decision's rules alone would fill a screen."""
    document = json.loads(details)
    return ", ".join(
        f"{name}: {'...' if isinstance(value, dict | list) and value else value}"
        for name, value in document.items()
        if value not in (None, [], {})
    )


def _say(sentence: str) -> None:
    Console().print(sentence, markup=False, highlight=False, soft_wrap=True)
