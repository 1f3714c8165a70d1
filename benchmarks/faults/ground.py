"""A ground: the server of a scenario, its processes, and what tells that it is whole."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic
from benchmarks.postgresql import PostgresServer
from benchmarks.started_server import StartedServer
from benchmarks.wrk import LoadFailed
from data.synthetic import synthetic_jpeg
from training.promotion.serve_config import ServeConfig, ServeUnreachable

TIMEOUT_S = 180.0
"""Longest wait for anything to come back."""
QUIET_S = 5.0
"""Without a failure, after which a fault counts as over."""

_POLL_S = 0.05


class Ground:
    """A running server that faults are made on.

    Args:
        url: of the server.
        dashboard_url: of its Ray.
        pid: of `dermserve up`, or of whatever else has started Ray.
        folder: of what it writes.
        server: that can be stopped and started again, if that is what it is.
        postgres: that has its catalogue, if one has.
    """

    def __init__(
        self,
        url: str,
        dashboard_url: str,
        pid: int,
        folder: Path,
        server: StartedServer | None = None,
        postgres: PostgresServer | None = None,
    ) -> None:
        self.url = url
        self.dashboard_url = dashboard_url
        self.pid = pid
        self.folder = folder
        self.server = server
        self.postgres = postgres
        self._image = synthetic_jpeg("nv", 2)

    @classmethod
    def of(
        cls, server: StartedServer, folder: Path, postgres: PostgresServer | None = None
    ) -> Ground:
        """The ground of a started server."""
        pid = server.process.pid
        return cls(server.url, server.dashboard_url, pid, folder, server, postgres)

    def processes(self, title: str) -> dict[int, float]:
        """The server's processes whose command lines begin with a pattern, and their starts."""
        found = {}
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if re.match(title, _title(process)):
                    found[process.pid] = process.create_time()
        return found

    def kill(self, title: str) -> dict[int, float]:
        """Kill -9 the processes of a title; says which they were.

        Raises:
            LoadFailed: if there are none.
        """
        found = self.processes(title)
        if not found:
            raise LoadFailed(f"The server has no process called {title}.")
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found

    def wait(self, reached: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> float:
        """Wait for something; what is under repair may not answer at first.

        Returns:
            Seconds that it took.

        Raises:
            LoadFailed: if it does not come.
        """
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            with contextlib.suppress(httpx.HTTPError, ServeUnreachable):
                if reached():
                    return time.monotonic() - began
            time.sleep(_POLL_S)
        raise LoadFailed(f"{what} did not come within {timeout_s:.0f} s.")

    def whole(self, before: dict[int, float], title: str, probe: Callable[[], bool]) -> float:
        """Wait until other processes of a title run and a probe is answered well.

        Returns:
            Seconds that it took.

        Raises:
            LoadFailed: if it does not come to that.
        """

        def reached() -> bool:
            return bool(self.processes(title).items() - before.items()) and probe()

        return self.wait(reached, f"A new {title}")

    def answers(self, method: str, path: str, **options: Any) -> bool:
        """Whether a request is answered 200."""
        return httpx.request(method, self.url + path, timeout=40, **options).status_code == 200

    def predicts(self) -> bool:
        """Whether the chain answers."""
        return self.answers("POST", "/predict", content=self._image)

    def explains(self) -> bool:
        """Whether the explainer answers."""
        return self.answers("POST", "/explain", content=self._image)

    def lists_uploads(self) -> bool:
        """Whether the archive answers."""
        return self.answers("GET", "/uploads?limit=1")

    def trains(self) -> bool:
        """Whether the trainer answers."""
        return self.answers("GET", "/retrain/status")

    def details(self) -> dict[str, Any]:
        """What Serve tells of itself.

        Raises:
            ServeUnreachable: if the dashboard does not answer.
        """
        return ServeConfig(self.dashboard_url).details()

    def serves(self) -> bool:
        """Whether Serve's controller says that all applications run."""
        try:
            applications = self.details().get("applications", {}).values()
        except ServeUnreachable:  # the controller, or the dashboard, is away
            return False
        return len(applications) == 2 and all(each["status"] == "RUNNING" for each in applications)


def outcome(
    name: str,
    fault: str,
    ground: Ground,
    make: Callable[[Traffic], float | None],
    traffic: Traffic | None = None,
    note: Callable[[], str] = lambda: "",
    quiet_s: float = QUIET_S,
) -> Outcome:
    """Put traffic on a server, make a fault, and wait until nothing fails any more.

    Args:
        name: of the scenario.
        fault: in a few words.
        ground: the server.
        make: makes the fault, and returns the seconds until the server was whole again.
        traffic: other than the usual.
        note: what else is to be said, asked at the end.
        quiet_s: how long nothing may fail at the end.

    Raises:
        LoadFailed: if the server does not recover.
    """
    with traffic or Traffic(ground.url) as load:
        load.strike()
        whole_s = make(load)
        load.calm(quiet_s, TIMEOUT_S)
    return Outcome(
        scenario=name, fault=fault, traffic=load.report(), whole_after_s=whole_s, note=note()
    )


def _title(process: psutil.Process) -> str:
    command = process.cmdline()
    return command[0] if command and command[0].startswith("ray::") else " ".join(command)
