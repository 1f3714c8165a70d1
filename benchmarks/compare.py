"""Our server beside its peers: the same images, decoding, engine and rules, in one run."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.bare_limit import bare_limit
from benchmarks.command import run
from benchmarks.comparison.plot import plot
from benchmarks.comparison.results import Comparison, Conditions, Round
from benchmarks.comparison.round import Plan, measure
from benchmarks.comparison.table import markdown, open_loop, remarks, rich_table, summary
from benchmarks.images import image_files
from benchmarks.number_list import numbers, whole_numbers
from benchmarks.peers.entry import NAMES, Entry, entries
from benchmarks.peers.environment import peers_python
from benchmarks.peers.reference import Reference
from benchmarks.peers.task import PeerEngine
from data.catalogue.database import CATALOGUE_VARIABLE
from data.image_store import IMAGES_VARIABLE
from models.errors import InvalidConfiguration
from models.registry_process import resolve
from models.tracking_uri import REGISTRY_VARIABLE, var_folder
from training.storage import RUNS_VARIABLE

_CHECKED_IMAGES = 5

_ENGINES: dict[str, list[PeerEngine]] = {
    "both": ["openvino", "torch-eager"],
    "openvino": ["openvino"],
    "torch-eager": ["torch-eager"],
}


def compare(
    peers: Annotated[str, typer.Option(help="Servers, with commas.")] = ",".join(NAMES),
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    concurrency: Annotated[str, typer.Option(help="Connections, with commas.")] = "1,16,64,256",
    rates: Annotated[
        str,
        typer.Option(
            help="Open-loop rates as shares of the bare limit, with commas; empty for none."
        ),
    ] = "0.5,1.5",
    seconds: Annotated[int, typer.Option(min=1, help="Length of one measurement.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Medians are taken over these.")] = 3,
    engine: Annotated[
        Literal["both", "openvino", "torch-eager"],
        typer.Option(help="openvino: ours in every server; torch-eager: peers out of the box."),
    ] = "both",
    peers_python_path: Annotated[
        Path | None,
        typer.Option(
            "--peers-python",
            exists=True,
            dir_okay=False,
            help="Interpreter with the peers installed; var/peers-venv is made if not given.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the report; var/compare-TIME if not given.")
    ] = None,
) -> None:
    """Measure our server and its peers in turn, beside the machine's bare limit.

    Each server gets every core and runs alone. Writes report.md, results.json, plot.png and what
    the servers printed.

    Example: python -m benchmarks.compare --images ~/HAM10000/samples --peers dermserve,mosec
    """
    console = Console()
    chosen = entries(peers.split(","), _ENGINES[engine])
    if not chosen:
        raise InvalidConfiguration("None of these servers runs torch-eager; ours has no such form.")
    shares = tuple(sorted(numbers(rates))) if rates else ()
    connections = whole_numbers(concurrency)
    now = datetime.now(timezone.utc)
    folder = (output or var_folder() / f"compare-{now:%Y%m%d-%H%M%S}").absolute()
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compare-") as name, _places(Path(name)):
        scratch = Path(name)
        if peers_python_path is None and not all(entry.ours for entry in chosen):
            with console.status("Making the peers' environment; the first time takes minutes ..."):
                peers_python_path = peers_python()
        files = image_files(images, scratch)
        with console.status("Asking the engines without a server ..."):
            resolve("champion")
            reference = Reference.of(_spread(files, _CHECKED_IMAGES), _ENGINES[engine])
        plan = Plan(
            files=files,
            reference=reference,
            python=peers_python_path or Path(sys.executable),
            cores=len(os.sched_getaffinity(0)),
            concurrencies=connections,
            shares=shares,
            seconds=seconds,
            folder=scratch,
            logs=folder / "logs",
        )
        given = Conditions(
            measured_at=now,
            device=reference.device.name,
            precision=reference.device.precision,
            cores=plan.cores,
            images=len(files),
            mean_bytes=statistics.mean(path.stat().st_size for path in files),
            seconds=seconds,
            concurrencies=tuple(connections),
            rates=shares,
        )
        console.print(
            f"Servers: {len(chosen)}. Rounds: {rounds}. Minutes: about "
            f"{max(1, round(rounds * plan.estimate_s(chosen) / 60))}. Results: {folder}",
            soft_wrap=True,
        )
        labels = tuple(entry.label for entry in chosen)
        comparison = Comparison(conditions=given, labels=labels, rounds=())
        for each in _rounds(chosen, plan, rounds, console):
            # Written after every round, so that a run that is broken off is not lost.
            comparison = comparison.model_copy(update={"rounds": (*comparison.rounds, each)})
            _write(comparison, folder)
    console.print(rich_table(*summary(comparison)))
    if shares:
        console.print(rich_table(*open_loop(comparison)))
    console.print(
        *remarks(comparison), f"Written: {folder}", sep="\n", markup=False, soft_wrap=True
    )


def _rounds(chosen: list[Entry], plan: Plan, rounds: int, console: Console) -> Iterator[Round]:
    """Measure; the order of the servers turns round from one round to the next."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        total = rounds * (1 + sum(plan.steps(entry) for entry in chosen))
        bar = progress.add_task("", total=total)
        for number in range(rounds):
            name = f"Round {number + 1} of {rounds}"
            progress.update(bar, description=f"{name}: the bare limit")
            limit = bare_limit(plan.files, plan.seconds, engine="openvino")
            progress.advance(bar)
            # The first round's limit says what is offered, so that medians are of one rate.
            plan = plan if plan.limit else replace(plan, limit=limit)
            turns = []
            for entry in chosen if number % 2 == 0 else reversed(chosen):
                done = progress.tasks[0].completed

                def on_step(what: str, name: str = f"{name}: {entry.label}") -> None:
                    progress.update(bar, description=f"{name}, {what}", advance=1)

                turns.append(measure(entry, plan, on_step))
                if (problem := turns[-1].problem) is not None:
                    console.print(f"{entry.label}: {problem}", markup=False, soft_wrap=True)
                progress.update(bar, completed=done + plan.steps(entry))
            yield Round(bare_limit=limit, turns=tuple(turns))


def _spread(files: list[Path], count: int) -> list[Path]:
    """Some of the files, from the first on, evenly."""
    return files[:: max(1, len(files) // count)][:count]


@contextmanager
def _places(folder: Path) -> Iterator[None]:
    """An environment in which nothing of the user's is read or written.

    Its champion is the one that ships, or that DERMSERVE_CHAMPION names.
    """
    before = dict(os.environ)
    os.environ.update(
        {
            REGISTRY_VARIABLE: f"sqlite:///{folder}/mlflow.db",
            CATALOGUE_VARIABLE: f"sqlite:///{folder}/catalogue.db",
            IMAGES_VARIABLE: str(folder / "images"),
            RUNS_VARIABLE: str(folder / "runs"),
            "TMPDIR": str(folder),
            "BENTOML_HOME": str(folder / "bentoml"),
            # Ray would write a token to the home folder.
            "RAY_AUTH_MODE": "disabled",
            # Nobody is told of this.
            "RAY_USAGE_STATS_ENABLED": "0",
            "BENTOML_DO_NOT_TRACK": "True",
        }
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _write(comparison: Comparison, folder: Path) -> None:
    (folder / "results.json").write_text(comparison.model_dump_json(indent=2) + "\n")
    (folder / "report.md").write_text(markdown(comparison))
    plot(comparison, folder / "plot.png")


if __name__ == "__main__":
    run(compare)
