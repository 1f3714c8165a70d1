"""Locust as a child process: some users on a running server for a while."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.locust_load.step import REQUESTS_FILE, Step, read_step
from benchmarks.wrk import LoadFailed

REPORT_FILE = "locust.html"
LOG_FILE = "locust.log"

_PROJECT = Path(__file__).parents[2]
_LOCUSTFILE = _PROJECT / "locustfile.py"
_RECORDER = Path(__file__).with_name("recorder.py")

LAST_ANSWERS_S = 65
"""Longest wait for the last answers: a little more than Locust's own limit for one."""
_START_AND_END_S = 60
_POLL_S = 0.5


class Tail:
    """The record of a step while Locust writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.requests = 0
        self.problems = 0

    def read(self) -> None:
        """Count the lines that have come."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            if self._read:  # past the header
                self.requests += 1
                self.problems += not line.rstrip().endswith(b",")
            self._read += len(line)


def check_locust() -> None:
    """Raise `LoadFailed` if Locust or the locustfile is missing."""
    if importlib.util.find_spec("locust") is None:
        raise LoadFailed("Locust is not installed. Install it with pip install 'dermserve[load]'.")
    if not _LOCUSTFILE.is_file():
        raise LoadFailed(f"There is no {_LOCUSTFILE}. Run this from a clone of the project.")


def step_seconds(users: int, spawn_rate: float, run_time_s: int) -> int:
    """How long a step takes: until all users are there, and then the run."""
    return math.ceil(users / spawn_rate) + run_time_s


def run_locust(
    url: str,
    users: int,
    *,
    spawn_rate: float,
    run_time_s: int,
    images: Path,
    folder: Path,
    watch: Callable[[float, Tail], None],
) -> Step:
    """Let users of `locustfile.py` load a server, and let them finish what they have begun.

    Args:
        url: of the server.
        users: how many.
        spawn_rate: how many come in a second.
        run_time_s: how long all of them are there.
        images: folder of the .jpg files that they send.
        folder: made; Locust's page, its log and the record of all requests go there.
        watch: told twice a second how many seconds have passed and what has come so far.

    Raises:
        LoadFailed: if Locust fails.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True)
    seconds = step_seconds(users, spawn_rate, run_time_s)
    command = [
        *(sys.executable, "-m", "locust", "-f", f"{_LOCUSTFILE},{_RECORDER}"),
        *(
            "--record",
            str(folder),
            "--headless",
            "--only-summary",
            "--html",
            str(folder / REPORT_FILE),
        ),
        *("--host", url, "--users", str(users), "--spawn-rate", str(spawn_rate)),
        *("--run-time", f"{seconds}s", "--stop-timeout", str(LAST_ANSWERS_S)),
        *("--exit-code-on-error", "0"),  # wrong answers are a result, not an end
    ]
    tail = Tail(folder / REQUESTS_FILE)
    with (folder / LOG_FILE).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=_PROJECT,
            env={**os.environ, "DERMSERVE_LOAD_IMAGES": str(images.resolve())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(process, seconds, tail, watch)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise LoadFailed(f"Locust ended with status {process.returncode}: {_last_words(folder)}")
    return read_step(folder, users)


def _wait(
    process: subprocess.Popen[bytes],
    seconds: int,
    tail: Tail,
    watch: Callable[[float, Tail], None],
) -> None:
    started = time.monotonic()
    while True:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            passed = time.monotonic() - started
            if passed > seconds + LAST_ANSWERS_S + _START_AND_END_S:
                raise LoadFailed(f"Locust did not end within {passed:.0f} s.") from None
            tail.read()
            watch(passed, tail)
        else:
            return


def _last_words(folder: Path) -> str:
    lines = (folder / LOG_FILE).read_text(encoding="utf-8").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
