"""`dermserve retrain`: a retraining on a running server, started, followed and stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cluster.addresses import SERVER_URL
from cluster.exit_code import CommandFailed, ExitCode, usage_error
from cluster.printable import printable, say
from cluster.server_access import Url, server

if TYPE_CHECKING:
    from dermserve_client import RetrainStatus, Run

# A trainer that starts again after a crash is away for seconds.
_PATIENCE_S = 60.0

app = typer.Typer(invoke_without_command=True)


class Mode(str, Enum):
    """What is trained."""

    HEAD = "head"
    FULL = "full"


AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.callback()
def retrain(
    context: typer.Context,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help="Only the last layer, in seconds, or the whole network; else the server decides.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show how it goes until it is over.")
    ] = False,
    url: Url = SERVER_URL,
) -> None:
    """Start a retraining; with a command, ask about one instead.

    With --follow, the exit code is 0 if the new version is promoted, and 1 if the run is refused
    by the gate, fails or is stopped. Ctrl-C ends the following and not the run.

    Example: dermserve retrain --follow
    """
    if context.invoked_subcommand is not None:
        typed = context.get_parameter_source("url")
        if mode is not None or follow or (typed is not None and typed.name == "COMMANDLINE"):
            raise usage_error(
                f"--mode and --follow do not go with {context.invoked_subcommand}, and --url comes "
                "after it."
            )
        return
    with server(url) as client:
        run = client.retrain(None if mode is None else mode.value)
    say(f"Run {run.id} is queued: {run.images:,} labelled images.", error=False)
    if follow:
        _follow(run.id, url)


@app.command("follow")
def follow_run(
    run_id: Annotated[
        int | None,
        typer.Argument(metavar="RUN", help="Else the one under way.", show_default=False),
    ] = None,
    url: Url = SERVER_URL,
) -> None:
    """Show how a run goes until it is over; exit code as for `dermserve retrain --follow`.

    Example: dermserve retrain follow 7
    """
    if run_id is None:
        with server(url) as client:
            run = client.retrain_status().run
        if run is None:
            raise CommandFailed(
                "No retraining is under way. `dermserve retrain history` lists those before.",
                ExitCode.REFUSED,
            )
        run_id = run.id
    _follow(run_id, url)


@app.command()
def status(as_json: AsJson = False, url: Url = SERVER_URL) -> None:
    """Show what the trainer is doing, and what is missing until it does something.

    Example: dermserve retrain status
    """
    with server(url) as client:
        now = client.retrain_status()
    if as_json:
        typer.echo(now.model_dump_json())
    else:
        for sentence in status_sentences(now):
            say(sentence, error=False)


@app.command()
def cancel(url: Url = SERVER_URL) -> None:
    """Ask the run that is under way to stop; it does so after the step it is in.

    Example: dermserve retrain cancel
    """
    with server(url) as client:
        run = client.cancel_retrain()
    say(f"Run {run.id} has been asked to stop.", error=False)


@app.command()
def history(
    last: Annotated[int, typer.Option(min=1, max=200, help="Number of runs.")] = 20,
    as_json: AsJson = False,
    url: Url = SERVER_URL,
) -> None:
    """List runs, the newest first.

    Example: dermserve retrain history --last 5
    """
    with server(url) as client:
        page = client.retrain_history(limit=last)
    if as_json:
        typer.echo(page.model_dump_json())
        return
    table = Table("run", "began (UTC)", "ended as", "version", "images", "mode", "why")
    for run in page.runs:
        began = (run.started or run.created).astimezone(timezone.utc)
        row = (
            *(str(run.id), f"{began:%Y-%m-%d %H:%M}", run.state, run.challenger_version or ""),
            *(f"{run.images:,} ({run.new_images:,} new)", run.mode, run.reason or ""),
        )
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    Console().print(table)
    say(f"{len(page.runs)} of {page.total} runs.")


def _follow(run_id: int, url: str) -> None:
    last = None
    try:
        with server(url, patience_s=_PATIENCE_S, must_answer=False) as client:
            for run in _shown(client.follow_run(run_id)):
                last = run
    except KeyboardInterrupt:
        say(f"Run {run_id} goes on. `dermserve retrain follow {run_id}` shows it again.")
        raise
    if last is None:
        raise CommandFailed(f"The server told nothing of run {run_id}.", ExitCode.REFUSED)
    say(run_sentence(last), error=False)
    if last.state != "promoted":
        raise typer.Exit(ExitCode.FAILED)


def _shown(runs: Iterator[Run]) -> Iterator[Run]:
    """The same runs, as a bar on a terminal, and elsewhere as a line for each phase."""
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    phase = None
    with bars:
        task = bars.add_task("", total=1.0, left="")
        for run in runs:
            text = _phase(run)
            left = "" if run.eta_s is None else f"about {run.eta_s:.0f} s left"
            bars.update(task, completed=run.progress, description=text, left=left)
            if text != phase and bars.disable:
                say(f"{text} ({run.progress:.0%})")
            phase = text
            yield run


def _phase(run: Run) -> str:
    text = f"Run {run.id}: {printable(run.phase or run.state)}"
    if run.epoch is not None and run.epochs is not None:
        text += f", epoch {run.epoch} of {run.epochs}"
    return f"{text}; asked to stop" if run.cancel_requested else text


def run_sentence(run: Run) -> str:
    """How a run ended, or how far it is."""
    reason = f" {run.reason}" if run.reason else ""
    if not run.over:
        return f"{_phase(run)}, {run.progress:.0%} done."
    version = f", version {run.challenger_version}" if run.challenger_version else ""
    took = ""
    if run.started is not None and run.finished is not None:
        took = f" after {(run.finished - run.started).total_seconds():.0f} s"
    return f"Run {run.id} was {run.state}{took}{version}.{reason}".replace("was failed", "failed")


def status_sentences(status: RetrainStatus) -> list[str]:
    """What the trainer does, did, waits for and rolls out."""
    said = []
    if status.run is not None:
        said.append(run_sentence(status.run))
    else:
        waiting = status.waiting
        missing = (
            f"{waiting.missing} more and the server retrains by itself"
            if waiting.missing
            else "enough, a retraining begins by itself"
        )
        said.append(
            f"No retraining is under way. {waiting.new_images} new labelled images of "
            f"{waiting.threshold}: {missing}."
        )
        if waiting.quiet_until is not None:
            said.append(f"Not before {_time(waiting.quiet_until)}.")
    if status.last is not None:
        said.append(f"The last one: {run_sentence(status.last)}")
    if (rollout := status.rollout) is not None:
        why = f" {rollout.reason}" if rollout.reason else ""
        said.append(
            f"The last rollout, from version {rollout.from_version} to {rollout.to_version}, is "
            f"{rollout.state}.{why}"
        )
    return said


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
