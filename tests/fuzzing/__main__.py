"""`python -m tests.fuzzing`: fuzz for some minutes, then say what came of it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzzing.campaign import Tally, WorkerFailed, findings_of, work
from tests.fuzzing.targets import TARGETS

# Decoders are C code, in which a fault costs most, so that they get most of the time.
_SHARES = {"decode": 8, "clean": 4, "examine": 3}
_SLICE_S = 20.0
"""Seconds of CPU for one worker: a fresh process shows what the memory of one input comes to."""

_COVERAGE = "tests.fuzzing.coverage_worker"


def fuzz(
    minutes: Annotated[float, typer.Option(help="of CPU, all targets together")] = 30,
    seed: Annotated[int, typer.Option(help="of the first worker; the next ones count up")] = 1,
    target: Annotated[list[str] | None, typer.Option(help="only these")] = None,
    findings: Annotated[Path | None, typer.Option(help="folder for inputs with a fault")] = None,
    coverage: Annotated[
        bool, typer.Option(help="every second worker is guided by coverage; needs atheris")
    ] = False,
) -> None:
    """Give mutated files and bodies to everything that reads them first."""
    folder = findings or Path(tempfile.mkdtemp(prefix="dermserve-fuzzing-"))
    chosen = target or list(TARGETS)
    shares = {name: _SHARES.get(name, 1) for name in chosen}
    tallies = {name: Tally() for name in chosen}
    modules = ["tests.fuzzing.worker", *([_COVERAGE] if coverage else [])]
    total_s = 60 * minutes
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    console = Console(stderr=True)
    started = time.monotonic()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("fuzzing", total=total_s, said="")
        number = 0
        while (done_s := sum(tally.cpu_s for tally in tallies.values())) < total_s:
            name = min(chosen, key=lambda one: tallies[one].cpu_s / shares[one])
            seconds = min(_SLICE_S, max(1.0, total_s - done_s))
            before = sum(tally.cases for tally in tallies.values())

            def show(report: dict[str, Any], name: str = name, before: int = before) -> None:
                cases = before + report["cases"]
                progress.update(bar, said=f"{cases} cases, {name}, {len(_all(tallies))} findings")

            try:
                work(
                    name,
                    folder / name.replace(" ", "-"),
                    seed + number,
                    tally=tallies[name],
                    seconds=seconds,
                    module=modules[number % len(modules)],
                    on_report=show,
                )
            except KeyboardInterrupt:
                break
            except WorkerFailed as error:  # the others go on; it is told at the end
                console.print(str(error), markup=False)
                tallies[name].findings.append("a worker failed")
            number += 1
            progress.update(bar, completed=sum(tally.cpu_s for tally in tallies.values()))
    _print(tallies, folder, seed, time.monotonic() - started)
    sys.exit(1 if _all(tallies) else 0)


def _all(tallies: dict[str, Tally]) -> list[str]:
    return findings_of(list(tallies.values()))


def _print(tallies: dict[str, Tally], folder: Path, seed: int, wall_s: float) -> None:
    console = Console(width=130)
    table = Table("target", "cases", "CPU s", "slowest, s", "peak, MiB", "findings", "came to")
    for name, tally in tallies.items():
        codes = ", ".join(f"{code} {count}" for code, count in tally.codes.most_common())
        table.add_row(
            name,
            str(tally.cases),
            f"{tally.cpu_s:.0f}",
            f"{tally.slowest_s:.3f}",
            f"{tally.peak_bytes / 2**20:.0f}",
            str(len(tally.findings)),
            codes,
        )
    console.print(table)
    cases = sum(tally.cases for tally in tallies.values())
    cpu_s = sum(tally.cpu_s for tally in tallies.values())
    console.print(f"{cases} cases in {cpu_s:.0f} s of CPU, {wall_s:.0f} s; first seed {seed}.")
    found = _all(tallies)
    for finding in found:
        console.print(f"  {finding}", markup=False)
    console.print(f"{len(found)} kinds of findings; the inputs are in {folder}." if found else "")


if __name__ == "__main__":
    typer.run(fuzz)
