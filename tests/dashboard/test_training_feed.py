"""The training feed on a stream of events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from dashboard.training_feed import TrainingFeed
from dermserve_client import Client, Retries
from tests.dashboard.answers import NOON


def _run(epoch: int | None, metrics: dict[str, float], number: int = 1) -> dict[str, Any]:
    moment = NOON.isoformat()
    return {
        **{"id": number, "name": "r", "state": "running", "mode": "head", "trigger": "manual"},
        **{"actor": "api", "phase": "training", "progress": 0.5, "epoch": epoch, "epochs": 9},
        **{"eta_s": None, "metrics": metrics, "new_images": 1, "images": 1},
        **{"champion_version": "2", "challenger_version": None, "decision": None, "reason": None},
        **{"attempts": 1, "cancel_requested": False, "created": moment, "started": moment},
        **{"finished": None, "heartbeat": None},
    }


def _event(run: dict[str, Any] | None) -> bytes:
    waiting = {"new_images": 1, "threshold": 10, "missing": 9, "missing_by_class": {}}
    status = {
        **{"state": "idle" if run is None else "running", "run": run, "last": None},
        **{"waiting": waiting, "rollout": None},
    }
    return b"event: status\ndata: " + json.dumps(status).encode() + b"\n\n"


class _Stream(httpx.SyncByteStream):
    def __init__(self, events: list[bytes], closed: threading.Event) -> None:
        self._events = events
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        yield from self._events
        self._closed.wait(20)


def _feed(answer: Callable[[], httpx.Response], unwatched_s: float = 60) -> TrainingFeed:
    transport = httpx.MockTransport(lambda request: answer())
    client = Client("http://server", transport=transport, retries=Retries(total_s=0))
    return TrainingFeed(client, unwatched_s)


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_newest_status_and_the_curve_of_its_run() -> None:
    closed = threading.Event()
    events = [
        _event(None),
        _event(_run(None, {})),
        _event(_run(1, {"loss": 0.5})),
        _event(_run(3, {"loss": 0.3, "balanced_accuracy": 0.7})),
    ]
    headers = {"content-type": "text/event-stream"}
    feed = _feed(lambda: httpx.Response(200, headers=headers, stream=_Stream(events, closed)))
    feed.look()
    _until(lambda: feed.curve(1).get("balanced_accuracy"))
    status, problem = feed.look()
    assert problem is None
    assert status is not None
    assert status.run is not None
    assert status.run.epoch == 3
    assert feed.curve(1) == {"loss": [(1, 0.5), (3, 0.3)], "balanced_accuracy": [(3, 0.7)]}
    assert feed.curve(2) == {}
    closed.set()


def test_a_refusal_is_told_in_words() -> None:
    error = {"error": {"code": "unauthenticated", "message": "No key.", "request_id": "r"}}
    feed = _feed(lambda: httpx.Response(401, json=error))
    _until(lambda: feed.look()[1])
    assert "API key" in (feed.look()[1] or "")


def test_it_stops_when_nobody_looks() -> None:
    asked = []

    def answer() -> httpx.Response:
        asked.append(None)
        return httpx.Response(503)

    feed = _feed(answer, unwatched_s=0.05)
    feed.look()
    _until(lambda: feed._thread is None or not feed._thread.is_alive())
    before = len(asked)
    assert before >= 1
    feed.look()
    _until(lambda: len(asked) > before)
