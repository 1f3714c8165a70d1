"""A decoder that kills its process takes one replica with it, and not the server."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psutil
import pytest

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from serve_app import schemas
from tests.conftest import PROJECT
from tests.serve_app.crashing_app import MARKER

PATIENCE_S = 90.0
STAGES = ("ingress", "preprocessor", "classifier", "archive")

Replicas = dict[str, set[int]]
"""Process ids by deployment."""


def _replicas() -> Replicas:
    found: Replicas = {stage: set() for stage in STAGES}
    for process in psutil.Process().children(recursive=True):
        try:
            title = (process.cmdline() or [""])[0]
        except psutil.Error:  # it has just ended
            continue
        for stage in STAGES:
            if title.startswith(f"ray::ServeReplica:dermserve:{stage}"):
                found[stage].add(process.pid)
    return found


def _wait(until: Callable[[], bool], what: str, answers: Counter[str] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline, f"{what}: {answers}"
        time.sleep(0.2)


def _replace(server: LocalServer, client: httpx.Client, image: bytes) -> None:
    """Deploy, and return when every replica in question is another one."""
    before = _replicas()
    server.deploy()

    def replaced() -> bool:
        now = _replicas()
        return all(len(now[stage]) == 1 and not now[stage] & before[stage] for stage in STAGES)

    _wait(replaced, "the application was not replaced")
    server.wait_until_ready(timeout_s=PATIENCE_S)
    _wait(lambda: client.post("/predict", content=image).status_code == 200, "no answer")


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def _fragile(server: LocalServer, client: httpx.Client) -> Iterator[None]:
    """The server with decoders that have a fault; afterwards, with its own again."""
    application = server.config["applications"][0]
    image = synthetic_jpeg("nv", 1, width=120, height=90)
    before = dict(application)
    application["import_path"] = "tests.serve_app.crashing_app:build"
    # The replicas work in folders of Ray's and find the project as a package, without its tests.
    application["runtime_env"] = {"env_vars": {"PYTHONPATH": str(PROJECT)}}
    try:
        _replace(server, client, image)
        yield
    finally:
        application.clear()
        application.update(before)
        _replace(server, client, image)


@contextmanager
def _others(url: str, image: bytes) -> Iterator[Counter[str]]:
    """Clients with harmless requests until the block ends; yields what they were answered."""
    answers: Counter[str] = Counter()
    over = threading.Event()

    def work(path: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not over.is_set():
                try:
                    response = (
                        client.post(path, content=image) if path == "/predict" else client.get(path)
                    )
                except httpx.HTTPError as error:  # which no test allows: the server has to answer
                    answers[f"{path} {error!r}"] += 1
                    continue
                code = "answered"
                if response.status_code != 200:
                    code = response.headers.get("content-type", "")
                    if code == "application/json":
                        code = response.json()["error"]["code"]
                answers[f"{path} {code}"] += 1

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, path) for path in ("/predict", "/predict", "/health/live")]
        running.append(pool.submit(work, "/uploads?limit=1"))
        try:
            yield answers
        finally:
            over.set()
    for each in running:
        each.result()


def _replaced(stage: str, before: Replicas) -> Callable[[], bool]:
    def check() -> bool:
        now = _replicas()
        return len(now[stage]) == 1 and not now[stage] & before[stage]

    return check


def _unharmed(stage: str, before: Replicas) -> None:
    """Of all replicas, only those of one deployment may be others than before."""
    now = _replicas()
    assert {name: now[name] for name in STAGES if name != stage} == {
        name: before[name] for name in STAGES if name != stage
    }


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_a_prediction_that_crashes_the_decoder(
    server: LocalServer, client: httpx.Client, jpeg: bytes, path: str
) -> None:
    client.post("/predict", content=jpeg).raise_for_status()
    before = _replicas()
    with _others(server.url, jpeg) as answers:
        _wait(lambda: answers["/predict answered"] >= 4, "the server does not answer")
        if path == "/predict":
            response = client.post(path, content=jpeg + MARKER)
            assert response.status_code in (503, 504), response.text
            error = schemas.ErrorResponse.model_validate_json(response.content).error
        else:
            files = [("files", ("a.jpg", jpeg)), ("files", ("b.jpg", jpeg + MARKER))]
            response = client.post(path, files=files)
            assert response.status_code == 200, response.text
            entry = schemas.BatchPrediction.model_validate_json(response.content).results[1]
            assert entry.error is not None
            error = entry.error
        # It is tried on three replicas, for which there may not be time enough.
        assert error.code in ("stage_unavailable", "deadline_exceeded")
        _wait(_replaced("preprocessor", before), "the replica did not come back")
        answered = answers["/predict answered"]
        _wait(lambda: answers["/predict answered"] >= answered + 4, "no predictions afterwards")
    _unharmed("preprocessor", before)
    codes = {name.removeprefix("/predict ") for name in answers if name.startswith("/predict ")}
    assert codes <= {"answered", "stage_unavailable", "deadline_exceeded", "overloaded"}, answers
    assert {name for name in answers if not name.startswith("/predict ")} == {
        "/health/live answered",
        "/uploads?limit=1 answered",
    }


def test_an_upload_that_crashes_the_decoder(
    server: LocalServer, client: httpx.Client, jpeg: bytes
) -> None:
    stored = client.get("/uploads?limit=1").json()["total"]
    before = _replicas()
    with _others(server.url, jpeg) as answers:
        _wait(lambda: answers["/predict answered"] >= 4, "the server does not answer")
        response = client.post("/upload/bulk", files={"files": ("a.jpg", jpeg + MARKER)})
        assert response.status_code == 503, response.text
        error = schemas.ErrorResponse.model_validate_json(response.content).error
        assert error.code == "stage_unavailable"
        _wait(_replaced("archive", before), "the replica did not come back")
        listed = answers["/uploads?limit=1 answered"]
        _wait(
            lambda: answers["/uploads?limit=1 answered"] > listed, "no archive afterwards", answers
        )
    _unharmed("archive", before)
    # Nobody who predicts notices.
    assert {name for name in answers if not name.startswith("/uploads")} == {
        "/predict answered",
        "/health/live answered",
    }
    assert client.get("/uploads?limit=1").json()["total"] == stored
    taken = client.post(
        "/upload/bulk", files={"files": ("a.jpg", synthetic_jpeg("df", 77, width=120, height=90))}
    )
    (verdict,) = taken.json()["results"]
    assert verdict["verdict"] == "needs_label"
    client.delete(f"/uploads/{verdict['id']}").raise_for_status()
