"""The loop: seconds from the last upload that was missing to predictions by the new version."""

from __future__ import annotations

import time
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from benchmarks.answer import answer_of
from benchmarks.command import run
from benchmarks.wrk import LoadFailed
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES

POLL_S = 0.1


def main(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    seed: Annotated[int, typer.Option(help="Of the synthetic lesions; change it each time.")] = 1,
    timeout_s: Annotated[float, typer.Option(help="Longest wait.")] = 1800.0,
) -> None:
    """Upload labelled synthetic lesions to a running server until it retrains, and watch.

    Example: python -m benchmarks.loop --seed 1
    """
    console = Console()
    with httpx.Client(base_url=url, timeout=60) as client:
        before = answer_of(client.get("/health"))["model"]["version"]
        waiting = answer_of(client.get("/retrain/status"))["waiting"]
        count = waiting["missing"]
        console.print(f"Version {before} serves; {count} labelled images are missing.")
        labels = [CLASSES[index % len(CLASSES)] for index in range(count)]
        files = [
            ("files", (f"{index}.jpg", synthetic_jpeg(code, 1000 * seed + index), "image/jpeg"))
            for index, code in enumerate(labels)
        ]
        uploaded = answer_of(client.post("/upload/bulk", files=files, data={"labels": labels}))
        started = time.monotonic()
        console.print(f"Uploaded: {uploaded['counts']}")
        phase = ""
        while True:
            if time.monotonic() - started > timeout_s:
                raise LoadFailed(f"The loop was not closed within {timeout_s:.0f} s.")
            status = answer_of(client.get("/retrain/status"))
            run: dict[str, Any] | None = status["run"]
            if run is not None and run["phase"] != phase:
                phase = run["phase"]
                console.print(f"{time.monotonic() - started:7.1f} s  {phase}")
            serving = answer_of(client.get("/health"))["model"]["version"]
            if serving != before:
                break
            if run is None and status["last"] is not None and phase:
                raise LoadFailed(
                    f"The run was {status['last']['state']}: {status['last']['reason']}"
                )
            time.sleep(POLL_S)
        image = client.post("/predict", files={"file": files[0][1]})
        seconds = time.monotonic() - started
    console.print(
        f"Version {answer_of(image)['model_version']} answers [bold]{seconds:.1f} s[/] after the "
        "last upload."
    )


if __name__ == "__main__":
    run(main)
