"""Overload: a server offered several times what it can do, and bulk beside interactive work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.memory_recorder import MemoryRecorder
from benchmarks.open_loop.load import Stream, run_streams
from benchmarks.overload_figure import overload_figure
from benchmarks.overload_report import (
    ALONE,
    AT_CAPACITY,
    BESIDE_BULK,
    OVERLOADED,
    OverloadReport,
    Phase,
    judge,
    phases_table,
)
from benchmarks.process_tree import ProcessTree, memory_table
from benchmarks.screen import screen
from benchmarks.wrk import LoadFailed, run_wrk
from serve_app.settings import ServeSettings
from training.figure_style import png

FLUCTUATION = 1.2
"""Times the mean that the slowest requests may wait in a full queue."""


def plan(capacity: float, times: float) -> list[tuple[str, list[Stream]]]:
    """The phases: what is offered in each, the interactive stream first."""
    interactive = Stream(rate=0.3 * capacity, priority="interactive")
    return [
        (AT_CAPACITY, [Stream(rate=capacity, priority="interactive")]),
        (OVERLOADED, [Stream(rate=times * capacity, priority="interactive")]),
        (ALONE, [interactive]),
        (BESIDE_BULK, [interactive, Stream(rate=2 * capacity, priority="bulk")]),
    ]


def write_report(report: OverloadReport, folder: Path) -> list[Path]:
    """Write `overload.json` and `overload.png`; says where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    document, picture = folder / "overload.json", folder / "overload.png"
    document.write_text(report.model_dump_json(indent=2) + "\n")
    picture.write_bytes(png(overload_figure(report)))
    return [document, picture]


def main(
    url: Annotated[str, typer.Option(help="The server, on this machine.")] = (
        "http://127.0.0.1:8000"
    ),
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of one phase.")] = 20.0,
    warmup_s: Annotated[float, typer.Option(min=0, help="Before each phase.")] = 2.0,
    times: Annotated[float, typer.Option(min=1, help="The overload, in capacities.")] = 4.0,
    concurrency: Annotated[int, typer.Option(help="Connections that measure the capacity.")] = 64,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for an answer.")] = 30.0,
    p99_limit_s: Annotated[
        float | None,
        typer.Option(
            help="Most that the p99 of accepted requests may be; by default the time that a full "
            "queue takes, with the default max_batch_size."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the arrival times.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder for overload.json and overload.png.")
    ] = None,
) -> None:
    """Offer a running server four times its capacity, then bulk beside interactive requests.

    The capacity is measured first, in a closed loop. Ends with status 1 if a demand is not met.
    The load generator takes its share of the same cores; the table says how much.

    Example: python -m benchmarks.overload --images ~/HAM10000/samples --output overload
    """
    console = screen()
    predict = f"{url}/predict"
    tree = ProcessTree.of_url(url)
    phases = []
    with tempfile.TemporaryDirectory() as scratch:
        files = image_files(images, Path(scratch))
        with console.status(f"Measuring the capacity with {concurrency} connections"):
            run_wrk(predict, files, concurrency=concurrency, seconds=3)  # warm-up
            capacity = run_wrk(predict, files, concurrency=concurrency, seconds=10).rate
        if capacity <= 0:
            raise LoadFailed("The server answered no request with 200. See its log.")
        console.print(f"Capacity: {capacity:.0f} requests/s in a closed loop")
        with MemoryRecorder(tree) as memory:
            for name, streams in plan(capacity, times):
                began_s = memory.elapsed_s
                with console.status(f"Load: {name}"):
                    results = run_streams(
                        predict,
                        files,
                        streams,
                        seconds=seconds,
                        warmup_s=warmup_s,
                        timeout_s=timeout_s,
                        seed=seed,
                    )
                phases.append(
                    Phase(
                        name=name,
                        began_s=began_s,
                        ended_s=memory.elapsed_s,
                        results=tuple(results),
                    )
                )
    goodput = phases[0].interactive.goodput
    if p99_limit_s is None:
        if goodput <= 0:
            raise LoadFailed("The server answered nothing at its capacity. See its log.")
        p99_limit_s = FLUCTUATION * ServeSettings.model_validate({}).max_waiting / goodput
    report = OverloadReport(
        url=url,
        capacity=capacity,
        cores=len(os.sched_getaffinity(0)),
        p99_limit_s=p99_limit_s,
        phases=tuple(phases),
        memory=tuple(memory.samples),
        memory_peak=memory.peak,
    )
    report = report.model_copy(update={"verdicts": judge(report)})
    console.print(phases_table(report))
    console.print("Memory when it was largest:")
    console.print(memory_table(report.memory_peak))
    for verdict in report.verdicts:
        word = "[green]met    [/]" if verdict.met else "[red]NOT met[/]"
        console.print(f"{word}  {verdict.demand}: [bold]{verdict.measured}[/]", highlight=False)
    if output is not None:
        console.print(f"Wrote {', '.join(map(str, write_report(report, output)))}", soft_wrap=True)
    if not all(verdict.met for verdict in report.verdicts):
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
