"""Requests during redeploys: a steady load while versions are promoted and rolled back."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.answer import answer_of
from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.wrk import LoadFailed, LoadResult, run_wrk

SWAP_TIMEOUT_S = 120.0


def main(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Connections.")] = 64,
    rounds: Annotated[int, typer.Option(help="Of two promotions and one rollback each.")] = 5,
    pause_s: Annotated[float, typer.Option(help="Between two changes.")] = 3.0,
) -> None:
    """Load a running server, first left alone and then while its model changes again and again.

    The registry has to hold at least two versions; all of them take their turn.

    Example: python -m benchmarks.redeploy --images ~/HAM10000/samples
    """
    console = Console()
    with (
        httpx.Client(base_url=url, timeout=SWAP_TIMEOUT_S) as client,
        ThreadPoolExecutor(1) as pool,
        tempfile.TemporaryDirectory() as scratch,
    ):
        versions = [model["version"] for model in answer_of(client.get("/models"))["models"]]
        if len(versions) < 2:
            raise LoadFailed("The registry holds one version only. Retrain or register another.")
        files = image_files(images, Path(scratch))
        predict = f"{url}/predict"
        seconds = round(3 * rounds * (pause_s + 1))

        def load() -> LoadResult:
            return run_wrk(predict, files, concurrency=concurrency, seconds=seconds)

        run_wrk(predict, files, concurrency=concurrency, seconds=5)  # warm-up
        with console.status(f"Left alone for {seconds} s"):
            alone = load()
        loading = pool.submit(load)
        swaps = []
        for number in range(3 * rounds):
            time.sleep(pause_s)
            swaps.append(_change(client, versions, rollback=number % 3 == 2))
            console.print(swaps[-1][0], f"{swaps[-1][1]:.2f} s")
        changing = loading.result()
        again = load()
    table = Table("", "requests/s", "p50 ms", "p99 ms", "worst ms", "failed")
    for name, result in (
        ("left alone", alone),
        (f"{len(swaps)} changes of the model", changing),
        ("left alone again", again),
    ):
        table.add_row(
            name,
            f"{result.rate:.0f}",
            *(f"{1e3 * s:.0f}" for s in (result.p50_s, result.p99_s, result.max_s)),
            str(result.failed),
        )
    console.print(table)
    slowest = max(seconds for _, seconds in swaps)
    console.print(
        f"Worst request during changes: {changing.max_s / alone.p99_s:.2f} times the p99 without. "
        f"A change took {sorted(s for _, s in swaps)[len(swaps) // 2]:.2f} s in the median and "
        f"{slowest:.2f} s at most until every replica served it."
    )


def _change(client: httpx.Client, versions: list[str], *, rollback: bool) -> tuple[str, float]:
    """Roll back, or promote the version after the champion; says which, and its seconds."""
    champion = answer_of(client.get("/models"))["champion"]
    following = versions[(versions.index(champion) + 1) % len(versions)]
    path = "/models/rollback" if rollback else f"/models/{following}/promote"
    started = time.perf_counter()
    rollout = answer_of(client.post(path, params={} if rollback else {"force": "true"}))
    seconds = time.perf_counter() - started
    if rollout["state"] not in ("observing", "completed"):
        raise LoadFailed(f"{path} left the rollout {rollout['state']}: {rollout['reason']}")
    return f"{rollout['kind']} {rollout['from_version']} -> {rollout['to_version']}", seconds


if __name__ == "__main__":
    run(main)
