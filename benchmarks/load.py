"""`dermserve bench`: a running server under load, beside the machine's bare limit."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from benchmarks.wrk import LoadResult
    from serve_app.engines import EngineName


def bench(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    concurrency: Annotated[str, typer.Option(help="Connections, with commas.")] = "1,16,64,256",
    seconds: Annotated[int, typer.Option(help="Length of one measurement.")] = 8,
    rounds: Annotated[int, typer.Option(help="Medians are taken over these.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Write every single result as JSON.")] = None,
) -> None:
    """Load a running server, beside what the same machine does without one.

    Each round measures the bare limit (decode and forward in a loop, one process a core) and
    then each number of connections; the table shows medians.

    Example: dermserve bench --images ~/HAM10000/samples --concurrency 1,64
    """
    # These take a moment to import; the other commands do not need them.
    from benchmarks.bare_limit import bare_limit
    from benchmarks.images import image_files
    from benchmarks.number_list import whole_numbers
    from benchmarks.wrk import run_wrk

    console = Console()
    engine = _engine_of(url)
    limits: list[float] = []
    results: dict[int, list[LoadResult]] = {c: [] for c in whole_numbers(concurrency)}
    with tempfile.TemporaryDirectory() as scratch:
        files = image_files(images, Path(scratch))
        predict = f"{url}/predict"
        run_wrk(predict, files, concurrency=16, seconds=3)  # warm-up
        for _ in track(range(rounds), "Measuring", console=console):
            limits.append(bare_limit(files, seconds, engine=engine))
            for c in results:
                results[c].append(run_wrk(predict, files, concurrency=c, seconds=seconds))
        size_kb = statistics.mean(path.stat().st_size for path in files) / 1000
    limit = statistics.median(limits)
    console.print(f"{len(files)} images of {size_kb:.0f} kB on average; medians of {rounds} rounds")
    console.print(f"Bare limit: {limit:.0f} images/s ({', '.join(f'{v:.0f}' for v in limits)})")
    console.print(_table(results, limit))
    if output is not None:
        document = {
            "bare_limit": limits,
            "load": [r.model_dump() for runs in results.values() for r in runs],
        }
        output.write_text(json.dumps(document, indent=2) + "\n")


def _engine_of(url: str) -> EngineName:
    """The engine that a ready server runs; the bare limit is that of the same one."""
    import httpx

    from benchmarks.wrk import LoadFailed

    try:
        response = httpx.get(f"{url}/health/ready", timeout=10)
    except httpx.HTTPError as error:
        raise LoadFailed(f"No server answers at {url}. Start one with make serve.") from error
    if response.status_code != 200:
        raise LoadFailed(f"The server at {url} is not ready: {response.text}")
    name: EngineName = response.json()["engine"]["name"]
    return name


def _table(results: dict[int, list[LoadResult]], limit: float) -> Table:
    table = Table("connections", "requests/s", "of the limit", "p50 ms", "p99 ms", "failed")

    for concurrency, runs in results.items():
        rate = statistics.median(run.rate for run in runs)
        table.add_row(
            str(concurrency),
            f"{rate:.0f}",
            f"{rate / limit:.2f}",
            f"{statistics.median(1e3 * run.p50_s for run in runs):.1f}",
            f"{statistics.median(1e3 * run.p99_s for run in runs):.1f}",
            str(sum(run.failed for run in runs)),
        )
    return table
