"""Faults: each part of a server killed in turn during a retraining, and what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import httpx
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import run
from benchmarks.wrk import LoadFailed
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES

PARTS = {
    "trainer": "ray::ServeReplica:trainer",
    "learner": "ray::_learn",
    "classifier": "ray::ServeReplica:dermserve:classifier",
    "preprocessor": "ray::ServeReplica:dermserve:preprocessor",
    "archive": "ray::ServeReplica:dermserve:archive",
    "controller": "ray::ServeController",
}
"""What is killed, and how its process is called."""

RUN_TIMEOUT_S = 600.0
CLIENTS = 4


def main(
    pid: Annotated[int, typer.Argument(help="Of the `dermserve up` whose processes are killed.")],
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    parts: Annotated[str, typer.Option(help="What to kill, with commas.")] = ",".join(PARTS),
    seed: Annotated[int, typer.Option(help="Of the uploads; change it each time.")] = 1,
) -> None:
    """Kill -9 each part of a server during a run of its own, under a light load.

    For each part, uploads three lesions, starts a retraining, kills the part while the run is
    under way, and waits for the run's end.

    Example: python -m benchmarks.faults $(pgrep -f 'dermserve up')
    """
    chosen = parts.split(",")
    if unknown := [part for part in chosen if part not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(PARTS)}")
    console = Console()
    table = Table("killed", "run", "attempts", "seconds", "answers", "down for s", "uploads")
    for index, part in enumerate(chosen):
        with console.status(f"Killing the {part} during a run"):
            table.add_row(part, *_kill(url, pid, PARTS[part], 100 * seed + 10 * index))
    console.print(table)


def _kill(url: str, pid: int, title: str, seed: int) -> tuple[str, ...]:
    with httpx.Client(base_url=url, timeout=60) as client:
        files = [
            ("files", ("lesion.jpg", synthetic_jpeg(code, 5000 + seed + i), "image/jpeg"))
            for i, code in enumerate(CLASSES[:3])
        ]
        labels = {"labels": list(CLASSES[:3])}
        uploaded = client.post("/upload/bulk", files=files, data=labels).raise_for_status().json()
        total = client.get("/uploads").json()["total"]
        load = _Load(url)
        client.post("/retrain").raise_for_status()
        _wait(client, lambda run: run is not None and run["phase"] in ("starting", "training"))
        started = time.monotonic()
        _kill_processes(pid, title)
        _wait(client, lambda run: run is None)
        seconds = time.monotonic() - started
        load.stop()
        last = client.get("/retrain/history?limit=1").json()["runs"][0]
        kept = client.get("/uploads").json()["total"]
        return (
            last["state"],
            str(last["attempts"]),
            f"{seconds:.0f}",
            ", ".join(f"{count} x {status}" for status, count in sorted(load.answers.items())),
            f"{load.longest_gap_s:.1f}",
            f"{uploaded['counts']['accepted']} acknowledged, {total - kept} lost",
        )


def _kill_processes(pid: int, title: str) -> None:
    """Kill those among the descendants of a process whose titles begin so."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if " ".join(process.cmdline()[:1]).startswith(title):
                found.append(process.pid)
    if not found:
        raise LoadFailed(f"{pid} has no process called {title}. Is it that of `dermserve up`?")
    for each in found:
        os.kill(each, signal.SIGKILL)


def _wait(client: httpx.Client, reached: Callable[[dict[str, Any] | None], bool]) -> None:
    """Wait for a state of the active run; a server under repair may not answer at first."""
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            response = client.get("/retrain/status")
            if response.status_code == 200 and reached(response.json()["run"]):
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise LoadFailed(f"The run did not come so far within {RUN_TIMEOUT_S:.0f} s.")


class _Load:
    """A few clients that predict one image after the other, and count what they are answered."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self.longest_gap_s = 0.0
        """Longest time without an answer of 200 to anybody."""
        self._url = url
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._image = synthetic_jpeg("nv", 1)
        self._threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._ended.is_set():
                try:
                    status = str(client.post("/predict", content=self._image).status_code)
                except httpx.HTTPError as error:
                    status = type(error).__name__
                with self._lock:
                    now = time.monotonic()
                    self.answers[status] += 1
                    if status == "200":
                        self.longest_gap_s = max(self.longest_gap_s, now - self._last)
                        self._last = now
                if status != "200":
                    time.sleep(0.2)


if __name__ == "__main__":
    run(main)
