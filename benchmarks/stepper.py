"""A stepper: offered rates one after the other, each until stable, and what became of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.number_list import numbers
from benchmarks.open_loop.load import OpenLoopResult, run_open_loop
from benchmarks.screen import screen
from benchmarks.stepper_figure import steps_figure
from benchmarks.steps import WINDOWS, Steps, run_step, steps_table
from benchmarks.wrk import LoadFailed, run_wrk
from training.figure_style import png

SHARES = "0.2,0.4,0.6,0.8,0.9,1,1.1,1.25,1.5"


def write_steps(report: Steps, folder: Path) -> list[Path]:
    """Write `steps.json` and `steps.png`; says where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    document, picture = folder / "steps.json", folder / "steps.png"
    document.write_text(report.model_dump_json(indent=2) + "\n")
    picture.write_bytes(png(steps_figure(report)))
    return [document, picture]


def main(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    rates: Annotated[
        str | None, typer.Option(help="Requests a second to offer, with commas.")
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Without --rates: shares of the capacity, which is measured first.")
    ] = SHARES,
    concurrency: Annotated[int, typer.Option(help="Connections that measure the capacity.")] = 64,
    window_s: Annotated[float, typer.Option(min=1, help="Length of one window.")] = 5.0,
    warmup_s: Annotated[float, typer.Option(min=0, help="Before each window.")] = 1.0,
    most_windows: Annotated[int, typer.Option(min=WINDOWS, help="Of one step.")] = 8,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for an answer.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the arrival times.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder for steps.json and steps.png.")
    ] = None,
) -> None:
    """Offer a running server one rate after the other, whether or not it keeps up.

    Requests come at random times (a Poisson process) and latencies count from when they were
    due. Each rate is repeated until three windows agree within 10 % in goodput and median.

    Example: python -m benchmarks.stepper --images ~/HAM10000/samples --output steps
    """
    console = screen()
    predict = f"{url}/predict"
    with tempfile.TemporaryDirectory() as scratch:
        files = image_files(images, Path(scratch))
        capacity = None
        if rates is not None:
            offered = numbers(rates)
        else:
            relative = numbers(shares)
            with console.status(f"Measuring the capacity with {concurrency} connections"):
                run_wrk(predict, files, concurrency=concurrency, seconds=3)  # warm-up
                capacity = run_wrk(predict, files, concurrency=concurrency, seconds=10).rate
            if capacity <= 0:
                raise LoadFailed("The server answered no request with 200. See its log.")
            console.print(f"Capacity: {capacity:.0f} requests/s in a closed loop")
            offered = [share * capacity for share in relative]

        def window(rate: float, number: int) -> OpenLoopResult:
            return run_open_loop(
                predict,
                files,
                rate=rate,
                seconds=window_s,
                warmup_s=warmup_s,
                timeout_s=timeout_s,
                seed=seed + number,
            )

        steps = []
        for rate in offered:
            with console.status(f"Offering {rate:.0f} requests/s"):
                steps.append(run_step(window, rate, most_windows=most_windows))
    report = Steps(url=url, capacity=capacity, steps=tuple(steps))
    console.print(steps_table(report))
    if output is not None:
        console.print(f"Wrote {', '.join(map(str, write_steps(report, output)))}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
