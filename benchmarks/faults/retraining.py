"""A retraining during which something is killed: it is carried on, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.kills import PARTS
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES

RUN_TIMEOUT_S = 600.0

_PARTS = ("trainer", "classifier", "preprocessor", "archive", "controller")
TITLES = {"learner": "ray::_learn", **{name: PARTS[name].title for name in _PARTS}}
"""What is killed during a run."""

_PHASES = ("starting", "features", "training")


def retrain_and_kill(ground: Ground, name: str, seed: int) -> Outcome:
    """Start a retraining and kill something as soon as it is under way.

    Args:
        ground: the server.
        name: in `TITLES`.
        seed: of the uploads, another each time.
    """

    def make(traffic: Traffic) -> float:
        with httpx.Client(base_url=ground.url, timeout=60) as client:
            upload_labelled(client, seed)
            client.post("/retrain").raise_for_status()
            traffic.strike()
            _wait(ground, client, lambda run: run is not None and run["phase"] in _PHASES)
            traffic.strike()
            began = time.monotonic()
            ground.kill(TITLES[name])
            _wait(ground, client, lambda run: run is None)
            return time.monotonic() - began

    def note() -> str:
        last = httpx.get(f"{ground.url}/retrain/history?limit=1", timeout=60).json()["runs"][0]
        return f"the run was {last['state']} at attempt {last['attempts']}"

    return outcome(
        f"retraining-{name}", f"kill -9 of the {name} in a retraining", ground, make, note=note
    )


def retrain(ground: Ground, seed: int) -> str:
    """Upload three lesions, retrain to the end, and say how it ended."""
    with httpx.Client(base_url=ground.url, timeout=60) as client:
        upload_labelled(client, seed)
        client.post("/retrain").raise_for_status()
        _wait(ground, client, lambda run: run is None)
        last: dict[str, Any] = client.get("/retrain/history?limit=1").json()["runs"][0]
        return str(last["state"])


def upload_labelled(client: httpx.Client, seed: int) -> None:
    """Upload three lesions that a run learns from.

    Raises:
        httpx.HTTPStatusError: if they are not taken.
    """
    files = [
        ("files", ("lesion.jpg", synthetic_jpeg(code, 50_000 + 10 * seed + i), "image/jpeg"))
        for i, code in enumerate(CLASSES[:3])
    ]
    labels = {"labels": list(CLASSES[:3])}
    client.post("/upload/bulk", files=files, data=labels).raise_for_status()


def _wait(
    ground: Ground, client: httpx.Client, reached: Callable[[dict[str, Any] | None], bool]
) -> None:
    def look() -> bool:
        response = client.get("/retrain/status")
        return response.status_code == 200 and reached(response.json()["run"])

    ground.wait(look, "That state of the run", RUN_TIMEOUT_S)
