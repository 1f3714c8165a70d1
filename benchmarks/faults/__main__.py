"""`python -m benchmarks.faults`: break a server part by part, and write down what came of it."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.command import run
from benchmarks.faults.outcome import HEADINGS, Outcome, markdown, row
from benchmarks.faults.scenarios import SCENARIOS, open_ground, problem
from benchmarks.screen import screen
from benchmarks.started_server import use_own_token
from benchmarks.wrk import LoadFailed


def main(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(SCENARIOS)}; all if not given.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Serve configuration.")] = Path("serve_config.yaml"),
    output: Annotated[
        Path | None, typer.Option(help="Folder for faults.md and faults.json.")
    ] = None,
) -> None:
    """Break servers of its own under a steady load, and say what that cost and for how long.

    Four clients predict and give up at the first failure, four ask again as the Python client
    does, and one uploads; afterwards every acknowledged upload is looked for. The servers run on
    free ports with places of their own, and end with the command.

    Example: python -m benchmarks.faults kill-ingress shutdown
    """
    chosen = list(dict.fromkeys(scenarios or SCENARIOS))
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(SCENARIOS)}")
    console = screen()
    use_own_token()
    outcomes: list[Outcome] = []
    broken: list[str] = []
    ordered = [name for name in SCENARIOS if name in chosen]
    for ground, names in itertools.groupby(ordered, lambda name: SCENARIOS[name].ground):
        if (reason := problem(ground)) is not None:
            console.print(f"Left out: {', '.join(names)}, because {reason}.")
            continue
        with (
            tempfile.TemporaryDirectory() as scratch,
            console.status("Starting a server") as status,
            open_ground(ground, config, Path(scratch)) as standing,
        ):
            for name in names:
                status.update(f"{name} ({len(outcomes) + 1} of {len(ordered)})")
                try:
                    outcomes.append(SCENARIOS[name].make(standing))
                except LoadFailed as error:
                    broken.append(f"{name}: {error.message}")
                    console.print(f"[red]{broken[-1]}", soft_wrap=True)
                    break  # this server is not what the next scenario needs
                console.print(" | ".join(row(outcomes[-1])), soft_wrap=True)
                if output is not None:
                    _write(output, outcomes)
    table = Table(*HEADINGS)
    for outcome in outcomes:
        table.add_row(*row(outcome))
    console.print(table)
    if broken:
        raise LoadFailed(f"Not recovered from: {'; '.join(broken)}")


def _write(folder: Path, outcomes: list[Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.md").write_text(markdown(outcomes))
    document = [outcome.model_dump(mode="json") for outcome in outcomes]
    (folder / "faults.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
