"""What a request costs in each stage: milliseconds of CPU, and where they go."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import psutil
import typer
from pydantic import BaseModel, ConfigDict, TypeAdapter
from rich import box
from rich.table import Table

from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.number_list import whole_numbers
from benchmarks.process_tree import ProcessTree, Snapshot, cpu_between, ordered
from benchmarks.screen import screen
from benchmarks.wrk import LoadFailed, LoadResult, run_wrk

WARMUP_S = 3
SHOWN_MS = 0.01
"""Roles that cost less per request at every concurrency are not listed one by one."""
PROFILED_SHARE = 0.05
"""Of a core, from which on a process is worth a profile."""


class StageCosts(BaseModel):
    """One closed-loop load, and what it cost."""

    model_config = ConfigDict(frozen=True)

    load: LoadResult
    cpu_ms: dict[str, float]
    """Milliseconds of CPU per request, by role."""
    generator_ms: float
    """The same of the load generator, which runs on the same cores."""
    cores: int

    @property
    def server_ms(self) -> float:
        """Of all roles together."""
        return sum(self.cpu_ms.values())

    @property
    def available_ms(self) -> float:
        """What the machine had for a request: its cores' time, divided by the requests."""
        return 1e3 * self.cores * self.load.seconds / self.load.requests


def measure(
    tree: ProcessTree, url: str, files: Sequence[Path], *, concurrency: int, seconds: int
) -> StageCosts:
    """Load a server in a closed loop and divide the CPU time of its processes by the requests.

    Raises:
        LoadFailed: if nothing is answered.
    """
    costs, _ = _measure(tree, lambda: _load(url, files, concurrency, seconds))
    return costs


def _load(url: str, files: Sequence[Path], concurrency: int, seconds: int) -> LoadResult:
    return run_wrk(f"{url}/predict", files, concurrency=concurrency, seconds=seconds)


def _measure(
    tree: ProcessTree, load: Callable[[], LoadResult]
) -> tuple[StageCosts, list[tuple[float, int, str]]]:
    """Costs, and the processes by the share of a core that they kept busy, busiest first."""
    before, generator_s = tree.snapshot(memory=False), _children_cpu_s()
    result = load()
    generator_s = _children_cpu_s() - generator_s
    after = tree.snapshot(memory=False)
    if result.requests == 0:
        raise LoadFailed("The server answered no request. See its log.")
    per_request = 1e3 / result.requests
    costs = StageCosts(
        load=result,
        cpu_ms={role: cpu_s * per_request for role, cpu_s in cpu_between(before, after).items()},
        generator_ms=generator_s * per_request,
        cores=len(os.sched_getaffinity(0)),
    )
    return costs, _busiest(before, after, result.seconds)


def _busiest(before: Snapshot, after: Snapshot, seconds: float) -> list[tuple[float, int, str]]:
    earlier = {(use.pid, use.created): use.cpu_s for use in before}
    shares = [
        ((use.cpu_s - earlier.get((use.pid, use.created), 0.0)) / seconds, use.pid, use.role)
        for use in after
    ]
    return sorted(shares, reverse=True)


def _children_cpu_s() -> float:
    """CPU time of children that have ended, such as wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def costs_table(measured: Sequence[StageCosts], *, markdown: bool = False) -> Table:
    """A row for each role, a column for each concurrency."""
    columns = [f"{each.load.concurrency} connections" for each in measured]
    table = Table("ms of CPU per request", *columns, box=box.MARKDOWN if markdown else box.HEAVY)
    roles = ordered(role for each in measured for role in each.cpu_ms)
    shown = [r for r in roles if any(each.cpu_ms.get(r, 0.0) >= SHOWN_MS for each in measured)]

    def row(name: str, value: Callable[[StageCosts], str]) -> None:
        table.add_row(name, *map(value, measured))

    for role in shown:
        row(role, lambda each, role=role: f"{each.cpu_ms.get(role, 0.0):.2f}")  # type: ignore[misc]
    row(
        "everything else",
        lambda each: f"{each.server_ms - sum(each.cpu_ms.get(r, 0.0) for r in shown):.2f}",
    )
    row("the server", lambda each: f"{each.server_ms:.2f}")
    row("load generator", lambda each: f"{each.generator_ms:.2f}")
    row("the machine had", lambda each: f"{each.available_ms:.2f}")
    row("requests/s", lambda each: f"{each.load.rate:.0f}")
    row("p50 ms", lambda each: f"{1e3 * each.load.p50_s:.1f}")
    row("p99 ms", lambda each: f"{1e3 * each.load.p99_s:.1f}")
    row("failed", lambda each: str(each.load.failed))
    return table


def py_spy() -> str:
    """The sampling profiler's binary; Ray Serve depends on it.

    Raises:
        LoadFailed: if there is none.
    """
    beside = Path(sys.executable).with_name("py-spy")
    found = shutil.which("py-spy") or (str(beside) if beside.exists() else None)
    if found is None:
        raise LoadFailed("py-spy is not installed. Install it: python -m pip install py-spy")
    return found


def profile(pid: int, picture: Path, seconds: int) -> None:
    """Write a flame graph of where a Python process spends its time.

    Raises:
        LoadFailed: if the process may not be read.
    """
    output = subprocess.run(
        [
            *(py_spy(), "record", "--nonblocking", "--pid", str(pid)),
            *("--duration", str(seconds), "--format", "flamegraph", "--output", str(picture)),
        ],
        capture_output=True,
        text=True,
    )
    if output.returncode != 0:
        raise LoadFailed(
            f"py-spy cannot read process {pid}: {output.stderr.strip()}. Run it as the server's "
            "user or as root; in a container, with --cap-add SYS_PTRACE."
        )


def _profile_busy(
    tree: ProcessTree, load: Callable[[], LoadResult], folder: Path, seconds: int
) -> list[Path]:
    """Flame graphs of the busy Python processes, one after the other, each under the load."""
    py_spy()
    _, busiest = _measure(tree, load)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for share, pid, role in busiest:
        if share < PROFILED_SHARE or not _is_python(pid):
            continue
        pictures.append(folder / f"{role.replace(' ', '-')}-{pid}.svg")
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load)
            time.sleep(0.5)  # the load is on its way
            profile(pid, pictures[-1], max(1, seconds - 1))
            loading.result()
    return pictures


def _is_python(pid: int) -> bool:
    try:
        return Path(psutil.Process(pid).exe()).name.startswith("python")
    except psutil.NoSuchProcess:
        return False


def main(
    url: Annotated[str, typer.Option(help="The server, on this machine.")] = (
        "http://127.0.0.1:8000"
    ),
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    concurrency: Annotated[str, typer.Option(help="Connections, with commas.")] = "1,16,64",
    seconds: Annotated[int, typer.Option(help="Length of one measurement.")] = 10,
    profiles: Annotated[
        Path | None,
        typer.Option("--profile", help="Folder for flame graphs of the busy processes (py-spy)."),
    ] = None,
    markdown: Annotated[bool, typer.Option(help="Print the table as Markdown.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the measurements as JSON.")] = None,
) -> None:
    """Load a running server and say what a request costs in each of its processes.

    Example: python -m benchmarks.stages --images ~/HAM10000/samples --concurrency 1,64
    """
    console = screen()
    counts = whole_numbers(concurrency)
    tree = ProcessTree.of_url(url)
    measured = []
    with tempfile.TemporaryDirectory() as scratch:
        files = image_files(images, Path(scratch))
        _load(url, files, 16, WARMUP_S)
        for count in counts:
            with console.status(f"{count} connections for {seconds} s"):
                measured.append(measure(tree, url, files, concurrency=count, seconds=seconds))
        console.print(costs_table(measured, markdown=markdown))
        if profiles is not None:
            with console.status("Profiling under the last load"):
                pictures = _profile_busy(
                    tree, lambda: _load(url, files, counts[-1], seconds), profiles, seconds
                )
            console.print(f"Flame graphs: {', '.join(map(str, pictures))}", soft_wrap=True)
    if output is not None:
        output.write_bytes(TypeAdapter(list[StageCosts]).dump_json(measured, indent=2))


if __name__ == "__main__":
    run(main)
