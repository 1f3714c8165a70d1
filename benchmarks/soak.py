"""A soak: a server under a steady load for a long time, and whether any of its processes grows."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.command import run
from benchmarks.faults.traffic import Traffic
from benchmarks.pages_round import Round
from benchmarks.process_tree import ProcessTree
from benchmarks.screen import screen
from benchmarks.soak_figure import soak_figure
from benchmarks.soak_report import COLUMNS, ProcessMemory, SoakReport, markdown, rows
from benchmarks.started_server import StartedServer, use_own_token
from training.figure_style import png

SAMPLE_PERIOD_S = 5.0
UPLOADS_PER_S = 0.2

_LONGEST_WARM_UP_S = 300.0
_WARM_UP_SHARE = 0.25


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="Length of it.")] = 30.0,
    requests_per_s: Annotated[
        float, typer.Option(help="Of each of eight clients that predict.")
    ] = 8.0,
    config: Annotated[Path, typer.Option(help="Serve configuration.")] = Path("serve_config.yaml"),
    output: Annotated[
        Path | None, typer.Option(help="Folder for soak.md, soak.json and soak.png.")
    ] = None,
) -> None:
    """Load a server of its own steadily, sample the memory of each process, and judge its trend.

    It predicts, uploads now and then, explains and looks at every other page; it never retrains.
    The exit status is 1 if a process surely grows, a request fails or an upload is lost.

    Example: python -m benchmarks.soak --minutes 30 --output var/soak
    """
    console = screen()
    use_own_token()
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
        with console.status("Starting a server"):
            server = held.enter_context(StartedServer(config, scratch))
        report = _soak(server, 60 * minutes, requests_per_s)
    table = Table(*COLUMNS)
    for cells in rows(report):
        table.add_row(*cells)
    console.print(table)
    console.print(report.verdict, soft_wrap=True)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "soak.md").write_text(markdown(report))
        (output / "soak.json").write_text(report.model_dump_json(indent=1) + "\n")
        (output / "soak.png").write_bytes(png(soak_figure(report)))
    if report.growing or report.failed or report.traffic.uploads_lost:
        raise typer.Exit(1)


def _soak(server: StartedServer, seconds: float, requests_per_s: float) -> SoakReport:
    """Raises: LoadFailed: if the server is gone."""
    began = time.monotonic()
    samples: dict[tuple[int, float], tuple[str, list[float], list[int]]] = {}
    traffic = Traffic(server.url, requests_per_s=requests_per_s, uploads_per_s=UPLOADS_PER_S)
    with (
        traffic,
        Round(server.url) as pages,
        Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=screen()
        ) as progress,
    ):
        task = progress.add_task("Soaking", total=seconds)
        while (at_s := time.monotonic() - began) < seconds:
            _sample(server.tree, at_s, samples)
            progress.update(
                task, completed=at_s, description=f"Soaking, {traffic.failures()} failed"
            )
            time.sleep(SAMPLE_PERIOD_S)
    return SoakReport(
        seconds=seconds,
        warm_up_s=min(_LONGEST_WARM_UP_S, _WARM_UP_SHARE * seconds),
        traffic=traffic.report(),
        pages=pages.tallies(),
        processes=tuple(
            ProcessMemory(role=role, pid=pid, at_s=tuple(at), uss_bytes=tuple(sizes))
            for (pid, _), (role, at, sizes) in samples.items()
        ),
    )


def _sample(
    tree: ProcessTree,
    at_s: float,
    samples: dict[tuple[int, float], tuple[str, list[float], list[int]]],
) -> None:
    for use in tree.snapshot():
        _, at, sizes = samples.setdefault((use.pid, use.created), (use.role, [], []))
        at.append(at_s)
        sizes.append(use.uss_bytes)


if __name__ == "__main__":
    run(main)
