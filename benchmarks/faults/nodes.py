"""Ray's own processes: where one of them dies, the node dies, and `dermserve up` starts anew."""

from __future__ import annotations

import time

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic

TITLES = {
    "agent": "ray::DashboardAgent",
    "raylet": r"\S*/raylet/raylet ",
    "gcs": r"\S*/gcs/gcs_server ",
}


def kill_node(ground: Ground, name: str) -> Outcome:
    """Kill one of Ray's processes, and wait for the server that follows.

    Args:
        ground: the server.
        name: in `TITLES`.
    """
    pid = ground.server.process.pid

    def make(traffic: Traffic) -> float:
        before = ground.processes(TITLES["raylet"])
        began = time.monotonic()
        ground.kill(TITLES[name])
        ground.whole(before, TITLES["raylet"], ground.predicts)
        return time.monotonic() - began

    def note() -> str:
        alive = ground.server.process.poll() is None and ground.server.process.pid == pid
        return "started anew by dermserve up" if alive else "dermserve up has ended"

    return outcome(f"kill-{name}", f"kill -9 of Ray's {name}", ground, make, note=note)
