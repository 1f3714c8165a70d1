"""A server that has done all that it tells of, and a Prometheus that reads it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

import httpx
import pytest

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from tests.cluster.monitoring.prometheus_process import PATIENCE_S, PrometheusProcess

# Pictures that no other test has uploaded.
_SEEDS = itertools.count(31_000)


@pytest.fixture(scope="session")
def busy_server(server: LocalServer, jpeg: bytes) -> LocalServer:
    """The server after predictions, an upload, a retraining and what follows from it.

    Its champion is the one from before, which other tests know.
    """
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(3):
            assert client.post("/predict", content=jpeg).status_code == 200
        missing = _idle(client)["waiting"]["missing"]
        champion = client.get("/models").json()["champion"]
        labels = [CLASSES[index % len(CLASSES)] for index in range(missing)]
        files = [("files", ("a.jpg", synthetic_jpeg(code, next(_SEEDS)))) for code in labels]
        response = client.post("/upload/bulk", files=files, data={"labels": labels})
        assert response.status_code == 200, response.text
        deadline = time.monotonic() + PATIENCE_S
        while (status := _idle(client))["last"] is None:
            assert time.monotonic() < deadline, status
            time.sleep(0.2)
        if client.get("/models").json()["champion"] != champion:
            response = client.post("/models/rollback")
            assert response.is_success, response.text
            _idle(client)
            assert client.get("/models").json()["champion"] == champion
        deadline = time.monotonic() + PATIENCE_S
        # As many images as the drift watch wants to have seen of this champion.
        images = [synthetic_jpeg(code, next(_SEEDS)) for code in CLASSES * 2]
        files = [("files", ("a.jpg", image)) for image in images * 4]
        while client.get("/data/summary").json()["drift"]["embedding"] is None:
            assert time.monotonic() < deadline, "the drift watch says nothing"
            assert client.post("/predict/batch", files=files).status_code == 200
            time.sleep(0.2)
    return server


def _idle(client: httpx.Client) -> dict[str, object]:
    """The trainer's status once neither a run nor a rollout is under way."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        response = client.get("/retrain/status")
        status = response.json()
        if response.status_code == 200 and status["state"] == "idle":
            rollout = status["rollout"]
            if rollout is None or rollout["finished"] is not None:
                return status
        assert time.monotonic() < deadline, status
        time.sleep(0.2)


@pytest.fixture(scope="session")
def prometheus(
    busy_server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusProcess]:
    """It has read the server and the nodes."""
    target = busy_server.url.removeprefix("http://")
    with PrometheusProcess(tmp_path_factory.mktemp("prometheus"), target) as process:
        process.wait_for(
            "Prometheus does not reach the server and the nodes",
            lambda: (
                len(process.query('up{job=~"dermserve|ray"} == 1')) >= 2
                and process.query("ray_node_cpu_count") != []
            ),
        )
        yield process


@pytest.fixture(scope="session")
def server_environment(busy_server: LocalServer) -> dict[str, str]:
    """Of a shell on the machine of the server."""
    return {**os.environ, **busy_server.environment}
