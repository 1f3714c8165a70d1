"""`dermserve status`: how a running server is, once or again and again."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.addresses import SERVER_URL
from cluster.duration import duration
from cluster.exit_code import ExitCode
from cluster.printable import printable, say
from cluster.server_access import Url, failure, server
from serve_app.chain import CHAIN

if TYPE_CHECKING:
    from cluster.server_status import ServerStatus
    from dermserve_client import Client

# The server's counts are up to two seconds old.
_LEAST_S = 2.0
_TIMEOUT_S = 10.0


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    interval: Annotated[
        float,
        typer.Option(min=_LEAST_S, max=3600, help="Seconds that requests are counted for."),
    ] = 3.0,
    url: Url = SERVER_URL,
) -> None:
    """Show how a server is: health, versions, replicas, requests per second and latencies.

    A part that the API key may not see says so. Exit code 0 if the server answers predictions, 1
    if it does not, 3 if nobody answers at all.

    Example: dermserve status --watch
    """
    # Without patience: that it does not answer is a status too.
    with server(url, patience_s=0, timeout_s=_TIMEOUT_S) as client:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(client, url, interval, as_json)
            return
        now = _over(client, url, interval)
    _print(now, as_json)
    if not now.ready:
        raise typer.Exit(ExitCode.FAILED)


def _over(client: Client, url: str, seconds: float) -> ServerStatus:
    """The status, with what happens in some seconds from now."""
    from cluster.server_status import read_status

    before = read_status(client, url)
    if before.metrics is None:
        return before
    time.sleep(seconds)
    return read_status(client, url).since(before)


def _watch(client: Client, url: str, interval: float, as_json: bool) -> None:
    """Go on, also while nobody answers."""
    from cluster.server_status import read_status
    from dermserve_client import DermServeError

    before = read_status(client, url)
    live = Live(shown(before), console=Console(), auto_refresh=False)
    with live if sys.stdout.isatty() and not as_json else contextlib.nullcontext():
        while True:
            time.sleep(interval)
            try:
                now = read_status(client, url).since(before)
            except DermServeError as error:
                say(failure(error, url).message, style="yellow")
                continue
            if live.is_started:
                live.update(shown(now), refresh=True)
            else:
                _print(now, as_json)
            before = now


def _print(now: ServerStatus, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(now.document()))
        sys.stdout.flush()
    else:
        Console().print(shown(now))


def shown(now: ServerStatus) -> RenderableType:
    """The status for people."""
    return Group(_facts(now), *([_deployments(now)] if now.metrics is not None else []))


def _facts(now: ServerStatus) -> Table:
    from cluster.retrain_command import status_sentences

    health = now.health
    ready = Text("ready", "green") if now.ready else Text(f"{health.status}", "bold red")
    facts: list[tuple[str, Text | str]] = [
        ("server", f"{now.url}{f', version {now.service.version}' if now.service else ''}"),
        ("state", Text.assemble(ready, f", up for {duration(health.uptime_s)}")),
    ]
    if health.reason:
        facts.append(("reason", Text(printable(health.reason), "red")))
    if health.model is not None:
        facts.append(("model", f"version {health.model.get('version')}{_standby(now)}"))
    if health.engine is not None:
        engine = health.engine
        facts.append(("engine", f"{engine.get('name')} on {engine.get('device', 'this machine')}"))
    for problem in (health.load_error, health.standby_error):
        if problem:
            facts.append(("problem", Text(printable(problem), "red")))
    if now.metrics is not None:
        facts.append(("requests", f"{now.metrics.requests:,} since the replicas started"))
        facts.extend(_traffic(now))
    if now.training is not None:
        facts.extend(("training", each) for each in status_sentences(now.training))
    facts.extend((part, Text(sentence, "yellow")) for part, sentence in now.problems.items())
    table = Table(show_header=False, box=None)
    for name, value in facts:
        text = value if isinstance(value, Text) else Text(printable(value))
        table.add_row(Text(name, "dim"), text)
    return table


def _standby(now: ServerStatus) -> str:
    parts = [] if now.models is None else [f"champion {now.models.champion}"]
    if now.health.standby:
        parts.append(f"standby {now.health.standby}")
    if now.models is not None:
        parts.append(f"{len(now.models.models)} versions registered")
    return f" ({', '.join(parts)})" if parts else ""


def _traffic(now: ServerStatus) -> list[tuple[str, str]]:
    from cluster.server_status import quantiles
    from dermserve_client.traffic import whole_window

    assert now.metrics is not None
    rows = []
    if now.recent is not None:
        rows.append(("now", f"{now.recent.rate:.1f} requests/s{_latency(quantiles(now.recent))}"))
    whole = _latency(quantiles(whole_window(now.metrics)))
    if whole:
        rows.append(("in all", whole.removeprefix("; ")))
    return rows


def _latency(found: dict[str, float | None]) -> str:
    told = [f"{name} {1e3 * value:.0f} ms" for name, value in found.items() if value is not None]
    return f"; {', '.join(told)}" if told else ""


def _deployments(now: ServerStatus) -> Table:
    assert now.metrics is not None
    table = Table("deployment", "state", "replicas", "waiting", "images", "batches")
    for column in table.columns[3:]:
        column.justify = "right"
    names = dict.fromkeys((*CHAIN, *now.metrics.replicas))
    for name in names:
        replicas, stage = now.metrics.replicas.get(name), now.metrics.stages.get(name)
        if replicas is None and stage is None:
            continue
        states = {} if replicas is None else replicas.states
        cells = (
            name,
            "" if replicas is None else replicas.status.lower(),
            ", ".join(f"{count} {state.lower()}" for state, count in states.items()),
            *(
                ("", "", "")
                if stage is None
                else (
                    f"{stage.waiting:,}",
                    f"{stage.images.get('taken', 0):,}",
                    f"{stage.batches:,}",
                )
            ),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
