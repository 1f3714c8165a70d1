"""The loop on a running server: uploads become the model that serves, whatever is killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES

PATIENCE_S = 180.0

# Pictures that no other test has uploaded.
_SEEDS = itertools.count(7000)


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
        _wait_until_idle(client)


def _upload(client: httpx.Client, count: int) -> list[dict[str, Any]]:
    """Upload labelled synthetic lesions; says the verdicts."""
    labels = [CLASSES[index % len(CLASSES)] for index in range(count)]
    files = [
        ("files", ("lesion.jpg", synthetic_jpeg(code, next(_SEEDS)), "image/jpeg"))
        for code in labels
    ]
    response = client.post("/upload/bulk", files=files, data={"labels": labels})
    assert response.status_code == 200, response.text
    verdicts: list[dict[str, Any]] = response.json()["results"]
    return verdicts


def _wait_until_idle(client: httpx.Client) -> dict[str, Any]:
    """Wait until no run and no rollout is under way; says the status then."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        response = client.get("/retrain/status")
        status: dict[str, Any] = response.json()
        over = response.status_code == 200 and status["state"] == "idle"
        rollout = status.get("rollout")
        if over and (rollout is None or rollout["finished"] is not None):
            return status
        assert time.monotonic() < deadline, f"it does not end: {status}"
        time.sleep(0.2)


def _wait_for_phase(client: httpx.Client, *phases: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        response = client.get("/retrain/status")
        run: dict[str, Any] | None = response.json().get("run")
        if run is not None and run["phase"] in phases:
            return run
        assert time.monotonic() < deadline, response.text
        time.sleep(0.05)


def _version(client: httpx.Client, image: bytes) -> str:
    response = client.post("/predict", content=image)
    assert response.status_code == 200, response.text
    return str(response.json()["model_version"])


def _events(client: httpx.Client, ended: threading.Event, events: list[dict[str, Any]]) -> None:
    """Follow the event stream until told to end; as browsers do, connect again where it ends."""
    while not ended.is_set():
        with client.stream("GET", "/retrain/events", timeout=PATIENCE_S) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    events.append(json.loads(line.removeprefix("data:")))
                if ended.is_set():
                    return


def _processes(*names: str) -> list[int]:
    """Pids of the processes of Ray whose titles begin so, one each."""
    titles = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            titles[process.pid] = " ".join(process.cmdline()[:1])
    return [next(pid for pid, title in titles.items() if title.startswith(n)) for n in names]


def test_ten_uploads_become_the_model_that_serves(client: httpx.Client, jpeg: bytes) -> None:
    missing = _wait_until_idle(client)["waiting"]["missing"]
    before = _version(client, jpeg)
    events: list[dict[str, Any]] = []
    ended = threading.Event()
    thread = threading.Thread(target=_events, args=(client, ended, events), daemon=True)
    thread.start()
    verdicts = _upload(client, missing)
    assert Counter(verdict["verdict"] for verdict in verdicts) == {"accepted": missing}
    _wait_for_phase(client, "training", "packaging", "gate", "registering")
    status = _wait_until_idle(client)
    last = status["last"]
    assert (last["state"], last["trigger"], last["champion_version"]) == (
        "promoted",
        "threshold",
        before,
    )
    assert status["waiting"]["new_images"] == 0
    version = last["challenger_version"]
    assert _version(client, jpeg) == version != before
    # The stream told of the same run.
    phases = {event["run"]["phase"] for event in events if event.get("run")}
    assert {"starting", "shadowing"} <= phases

    models = client.get("/models").json()
    assert (models["champion"], models["previous"]) == (version, before)
    card = client.get(f"/models/{version}").json()
    assert card["run"]["id"] == last["id"]
    assert card["verdict"] == "passed"
    assert client.get(f"/models/{version}/report").headers["content-type"].startswith("text/html")

    # Whoever takes an image back hears which model learned from it.
    upload_id = verdicts[0]["id"]
    deleted = client.delete(f"/uploads/{upload_id}").json()
    assert version in json.dumps(deleted)
    assert client.get(f"/uploads/{upload_id}/image").status_code == 404

    # The way back takes no loading: the predecessor was kept warm.
    back = client.post("/models/rollback")
    assert back.status_code == 200, back.text
    assert back.json()["to_version"] == before
    assert _version(client, jpeg) == before
    ended.set()  # before the last change, whose event lets the listener go
    forth = client.post(f"/models/{version}/promote")
    assert forth.status_code == 200, forth.text
    assert _version(client, jpeg) == version
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_there_is_never_a_second_run_and_the_first_can_be_stopped(client: httpx.Client) -> None:
    _upload(client, 1)
    answers = [client.post("/retrain").status_code for _ in range(2)]
    assert answers == [202, 409]
    assert client.delete("/retrain").status_code == 202
    last = _wait_until_idle(client)["last"]
    assert last["state"] == "cancelled"
    assert client.delete("/retrain").status_code == 409


def test_a_run_survives_the_death_of_everything_around_it(
    client: httpx.Client, jpeg: bytes
) -> None:
    """Trainer, learner, classifier, preprocessor and Serve's controller, in one run."""
    before = _version(client, jpeg)
    total = client.get("/uploads").json()["total"]
    accepted = _upload(client, 3)
    assert client.post("/retrain").status_code == 202
    run = _wait_for_phase(client, "starting", "features", "training")
    for pid in _processes(
        "ray::ServeReplica:trainer",
        "ray::ServeReplica:dermserve:classifier",
        "ray::ServeReplica:dermserve:preprocessor",
        "ray::ServeController",
    ):
        os.kill(pid, signal.SIGKILL)
    status = _wait_until_idle(client)
    last = status["last"]
    assert (last["id"], last["state"]) == (run["id"], "promoted"), last["reason"]
    assert last["attempts"] == 2
    assert client.get("/uploads").json()["total"] == total + len(accepted)
    assert client.get("/retrain/history").json()["runs"][0]["id"] == run["id"], "trained twice"
    assert _version(client, jpeg) == last["challenger_version"] != before
