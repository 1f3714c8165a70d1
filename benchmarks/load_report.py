"""The load report: more and more Locust users on a running server, step after step."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.answer import answer_of
from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.locust_load.overview import read_overview, step_folder, write_overview
from benchmarks.locust_load.process import Tail, check_locust, run_locust, step_seconds
from benchmarks.locust_load.results import Generator, LoadResults, Server, processor, usable_cores
from benchmarks.locust_load.step import Step
from benchmarks.locust_load.tables import (
    Cells,
    check_markers,
    outcome,
    users_table,
    write_markdown,
)
from benchmarks.number_list import whole_numbers
from benchmarks.wrk import LoadFailed

_SHOWN = {"users", "requests/s", "images/s", "p50 ms", "p95 ms", "p99 ms", "refused", "failed"}
_LOCAL = {"127.0.0.1", "localhost", "::1"}


def main(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    users: Annotated[str, typer.Option(help="Of each step, with commas.")] = "10,50,100,300",
    run_time: Annotated[int, typer.Option(min=2, help="Seconds with all users of a step.")] = 60,
    spawn_rate: Annotated[float, typer.Option(min=0.1, help="New users a second.")] = 20.0,
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="New folder; var/load-TIME if not given.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Also write the tables into this Markdown file.")
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option("--from", help="Folder of an earlier report, in place of a run.")
    ] = None,
) -> None:
    """Let users of locustfile.py load a running server, and write how it went.

    Each step leaves a page of Locust's; the overview with figure and tables is overview.html.

    Example: python -m benchmarks.load_report --images ~/HAM10000/samples --users 10,50,100,300
    """
    console = Console()
    if write is not None:
        check_markers(write)  # before minutes of load, not after
    if earlier is not None:
        results, folder = read_overview(earlier), earlier
    else:
        counts = sorted(set(whole_numbers(users)))
        check_locust()
        server = _ready_server(url)
        folder = _new_folder(output)
        with tempfile.TemporaryDirectory() as scratch:
            files = image_files(images, Path(scratch))
            generator = Generator(
                locust=version("locust"),
                processor=processor(),
                cores=usable_cores(),
                same_machine=urlsplit(url).hostname in _LOCAL,
                images=len(files),
                mean_image_bytes=sum(path.stat().st_size for path in files) / len(files),
                synthetic=images is None,
                spawn_rate=spawn_rate,
                run_time_s=run_time,
            )
            steps = _run_steps(
                console, url, counts, generator, images=files[0].parent, folder=folder
            )
        created = datetime.now(timezone.utc).replace(microsecond=0)
        results = LoadResults(created=created, server=server, generator=generator, steps=steps)
    page = write_overview(folder, results)
    if write is not None:
        write_markdown(write, results)
    console.print(_rich_table(users_table(results)))
    for step in results.steps:
        for problem, count in step.problems.items():
            console.print(f"{step.users} users: {count:,} x {problem}", markup=False)
    console.print(f"Overview: {page}", markup=False, soft_wrap=True)


def _ready_server(url: str) -> Server:
    """The server, if one is ready for the load."""
    try:
        ready = httpx.get(f"{url}/health/ready", timeout=10)
        info = httpx.get(url, timeout=10)
    except httpx.HTTPError as error:
        raise LoadFailed(f"No server answers at {url}. Start one with make serve.") from error
    if ready.status_code != 200:
        raise LoadFailed(f"The server at {url} is not ready: {ready.text}")
    try:
        health: dict[str, Any] = ready.json()
        return Server(
            version=answer_of(info)["version"],
            model_version=health["model"]["version"],
            engine=health["engine"]["name"],
            precision=health["engine"]["precision"],
            data_path=health["data_path"],
        )
    except (ValueError, LookupError, TypeError) as error:
        raise LoadFailed(f"What answers at {url} is no DermServe. Correct --url.") from error


def _new_folder(output: Path | None) -> Path:
    folder = output or Path("var") / f"load-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LoadFailed(f"{folder} holds something already. Choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run_steps(
    console: Console,
    url: str,
    counts: list[int],
    generator: Generator,
    *,
    images: Path,
    folder: Path,
) -> tuple[Step, ...]:
    steps = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[int, TaskID] = {}
        for count in counts:
            seconds = step_seconds(count, generator.spawn_rate, generator.run_time_s)
            tasks[count] = progress.add_task(f"{count} users", total=seconds, state="", start=False)
        for count in counts:
            task = tasks[count]
            progress.start_task(task)

            def watch(passed_s: float, tail: Tail, task: TaskID = task) -> None:
                state = f"{tail.requests:,} requests, {tail.problems:,} refused or failed"
                progress.update(task, completed=passed_s, state=state)

            step = run_locust(
                url,
                count,
                spawn_rate=generator.spawn_rate,
                run_time_s=generator.run_time_s,
                images=images,
                folder=step_folder(folder, count),
                watch=watch,
            )
            progress.update(task, completed=progress.tasks[task].total, state=outcome(step))
            steps.append(step)
    return tuple(steps)


def _rich_table(cells: Cells) -> Table:
    """Our rows, and as many columns as a terminal of 80 characters holds; the page has all."""
    shown = [index for index, column in enumerate(cells.columns) if column in _SHOWN]
    table = Table(box=SIMPLE, pad_edge=False)
    for index in shown:
        name = cells.columns[index]
        table.add_column(name, justify="right", min_width=len(name))
    for row in cells.rows:
        if row[0]:
            table.add_row(*(row[index] for index in shown))
    return table


if __name__ == "__main__":
    run(main)
