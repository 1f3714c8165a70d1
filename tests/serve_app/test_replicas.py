"""Replicas that die, and models that change, under requests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.server import LocalServer
from models.package import MANIFEST_FILE, ModelPackage

PATIENCE_S = 60.0


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def _replica_pid(stage: str) -> int:
    title = f"ray::ServeReplica:dermserve:{stage}"
    (pid,) = [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if _title(process).startswith(title)
    ]
    return pid


def _title(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline()[:1])
    except psutil.Error:  # it has ended since, perhaps because we killed it
        return ""


@contextlib.contextmanager
def _clients(url: str, image: bytes, count: int = 4) -> Iterator[list[httpx.Response]]:
    """So many clients, each with one request after the other until the block ends."""
    answers: list[httpx.Response] = []
    over = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not over.is_set():
                answers.append(client.post("/predict", content=image))

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(work) for _ in range(count)]
        try:
            yield answers
        finally:
            over.set()
    for each in running:
        each.result()  # a connection that was cut is a failure too


@pytest.mark.parametrize("stage", ["preprocessor", "classifier"])
def test_nobody_notices_a_replica_that_is_killed(
    server: LocalServer, client: httpx.Client, jpeg: bytes, stage: str
) -> None:
    client.post("/predict", content=jpeg).raise_for_status()
    killed = _replica_pid(stage)
    with _clients(server.url, jpeg) as answers:
        deadline = time.monotonic() + PATIENCE_S
        _wait_for(lambda: len(answers) >= 20, deadline, "the server does not answer")
        os.kill(killed, signal.SIGKILL)
        before = len(answers)
        _wait_for(lambda: _is_replaced(stage, killed), deadline, "the replica did not come back")
        _wait_for(lambda: len(answers) >= before + 20, deadline, "no answers afterwards")
    assert {answer.status_code for answer in answers} == {200}, [
        answer.text for answer in answers if answer.status_code != 200
    ]


def _is_replaced(stage: str, killed: int) -> bool:
    with contextlib.suppress(ValueError):  # not there yet, or two for a moment
        return _replica_pid(stage) != killed
    return False


def _wait_for(condition: Callable[[], bool], deadline: float, what: str) -> None:
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextlib.contextmanager
def _model(server: LocalServer, name: str) -> Iterator[None]:
    """The same configuration with another model."""
    (classifier,) = [
        deployment
        for deployment in server.config["applications"][0]["deployments"]
        if deployment["name"] == "classifier"
    ]
    before = classifier["user_config"]
    classifier["user_config"] = {"model": name}
    server.deploy()
    try:
        yield
    finally:
        classifier["user_config"] = before
        server.deploy()


def _wait_for_version(client: httpx.Client, jpeg: bytes, version: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        response = client.post("/predict", content=jpeg)
        assert response.status_code == 200, response.text
        if response.json()["model_version"] == version:
            return
        assert time.monotonic() < deadline, f"version {version} did not come"


def test_a_new_model_takes_over_without_a_lost_request(
    server: LocalServer,
    client: httpx.Client,
    jpeg: bytes,
    tiny_package: ModelPackage,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "second"
    shutil.copytree(tiny_package.folder, folder)
    manifest = tiny_package.manifest.model_copy(update={"version": "tiny-2"})
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    pid = _replica_pid("classifier")
    with _model(server, str(folder)):
        _wait_for_version(client, jpeg, "tiny-2")
    _wait_for_version(client, jpeg, tiny_package.manifest.version)
    assert _replica_pid("classifier") == pid


def test_a_broken_model_leaves_the_old_one_serving(
    server: LocalServer, client: httpx.Client, jpeg: bytes, tiny_package: ModelPackage
) -> None:
    with _model(server, "/nowhere"):
        deadline = time.monotonic() + PATIENCE_S
        while (health := client.get("/health").json())["load_error"] is None:
            assert time.monotonic() < deadline, "the failure was not reported"
        assert health["load_error"].startswith("The model was not loaded")
        assert "/nowhere" not in health["load_error"]
        assert health["status"] == "ok"
        _wait_for_version(client, jpeg, tiny_package.manifest.version)
