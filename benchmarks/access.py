"""Access: what API keys and their budgets cost, as requests a second with and without them."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.screen import screen
from benchmarks.started_server import StartedServer, use_own_token
from benchmarks.wrk import LoadFailed, LoadResult, run_wrk
from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys

CONFIG = Path("configs/colocated.yaml")

_WARM_UP_S = 4


def main(
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Serve configuration.")] = CONFIG,
    concurrency: Annotated[int, typer.Option(min=1, help="Connections.")] = 64,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one load.")] = 15,
    rounds: Annotated[int, typer.Option(min=1, help="Servers of each kind, in turn.")] = 3,
) -> None:
    """Load a server that has no key, then one that asks for it, round after round.

    Both run the same checks of limits; only the second verifies a key and counts its budget.

    Example: python -m benchmarks.access --images ~/HAM10000/samples
    """
    use_own_token()
    open_loads: list[LoadResult] = []
    keyed_loads: list[LoadResult] = []
    with tempfile.TemporaryDirectory() as scratch:
        files = image_files(images, Path(scratch))
        for number in track(range(rounds), "Measuring"):
            folder = Path(scratch, str(number))
            open_loads.append(load(config, files, concurrency, seconds, folder / "open"))
            keyed_loads.append(
                load(config, files, concurrency, seconds, folder / "keyed", keyed=True)
            )
    screen().print(table(open_loads, keyed_loads))


def load(
    config: Path,
    files: Sequence[Path],
    concurrency: int,
    seconds: int,
    folder: Path,
    *,
    keyed: bool = False,
) -> LoadResult:
    """Start a server, warm it up and load it.

    Args:
        config: of the server.
        files: images to send.
        concurrency: connections.
        seconds: length of the load.
        folder: for what the server writes; made here.
        keyed: whether it has a key, which is sent then.

    Raises:
        LoadFailed: if it does not start, or if a request fails.
    """
    folder.mkdir(parents=True)
    headers = {}
    if keyed:
        database = Database(f"sqlite:///{folder}/catalogue.db")
        headers["Authorization"] = (
            f"Bearer {Keys(database).create('load', [Role.PREDICT], 'benchmark').text}"
        )
        database.close()
    with StartedServer(config, folder) as server:
        predict = f"{server.url}/predict"
        run_wrk(predict, files, concurrency=concurrency, seconds=_WARM_UP_S, headers=headers)
        result = run_wrk(predict, files, concurrency=concurrency, seconds=seconds, headers=headers)
    if result.failed:
        raise LoadFailed(f"{result.failed} of {result.requests} requests failed.")
    return result


def table(without: Sequence[LoadResult], keyed: Sequence[LoadResult]) -> Table:
    """Medians of both, and what the second is of the first.

    Args:
        without: loads of servers without keys.
        keyed: loads of servers with them, as many.
    """
    shown = Table("", "requests/s", "p50 ms", "p99 ms")
    for name, loads in (("no key", without), ("a key", keyed)):
        rate = statistics.median(each.rate for each in loads)
        p50 = 1e3 * statistics.median(each.p50_s for each in loads)
        p99 = 1e3 * statistics.median(each.p99_s for each in loads)
        shown.add_row(name, f"{rate:.1f}", f"{p50:.1f}", f"{p99:.1f}")
    ratios = [b.rate / a.rate for a, b in zip(without, keyed, strict=True)]
    shown.caption = (
        f"With a key {statistics.median(ratios):.3f} of what it is without, in the median of "
        f"{len(ratios)} rounds ({min(ratios):.3f} to {max(ratios):.3f})."
    )
    return shown


if __name__ == "__main__":
    run(main)
