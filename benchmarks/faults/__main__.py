"""`python -m benchmarks.faults`: break a server part by part, and write down what came of it."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.table import Table

from benchmarks.command import run
from benchmarks.faults.outcome import HEADINGS, Outcome, markdown, row
from benchmarks.faults.scenarios import SCENARIOS, open_ground, problem
from benchmarks.screen import screen
from benchmarks.started_server import use_own_token
from benchmarks.wrk import LoadFailed
from models.errors import DermServeError


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
        left = list(names)
        if (reason := problem(ground)) is not None:
            console.print(f"Left out: {', '.join(left)}, because {reason}.")
            continue
        doing = f"the start of {ground}"
        try:
            with (
                tempfile.TemporaryDirectory() as scratch,
                console.status("Starting a server") as status,
                open_ground(ground, config, Path(scratch)) as standing,
            ):
                while left:
                    doing = left.pop(0)
                    status.update(f"{doing} ({len(outcomes) + 1} of {len(ordered)})")
                    outcomes.append(SCENARIOS[doing].make(standing))
                    console.print(" | ".join(row(outcomes[-1])), soft_wrap=True)
                    if output is not None:
                        _write(output, outcomes)
        except (DermServeError, httpx.HTTPError) as error:
            broken.append(f"{doing}: {_sentence(error)}")
            console.print(broken[-1], style="red", markup=False, soft_wrap=True)
            if left:  # a broken server is not what they need
                console.print(f"Left out: {', '.join(left)}, because of {doing}.", soft_wrap=True)
    table = Table(*HEADINGS)
    for outcome in outcomes:
        table.add_row(*row(outcome))
    console.print(table)
    if broken:
        raise LoadFailed(f"Not recovered from: {'; '.join(broken)}")


def _sentence(error: DermServeError | httpx.HTTPError) -> str:
    if isinstance(error, DermServeError):
        return error.message
    first, _, _ = str(error).partition("\n")  # what follows is advice on the status
    return f"{type(error).__name__}: {first}"


def _write(folder: Path, outcomes: list[Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.md").write_text(markdown(outcomes))
    document = [outcome.model_dump(mode="json") for outcome in outcomes]
    (folder / "faults.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
