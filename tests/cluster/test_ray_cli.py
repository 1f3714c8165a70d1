"""The same server through Ray's own commands: `ray start`, `serve deploy`, `serve status`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dotenv import dotenv_values

from serve_app import schemas
from tests.conftest import PROJECT, free_port

BIN = Path(sys.executable).parent


@pytest.fixture
def environment(serving_tiny: dict[str, str]) -> dict[str, str]:
    """What the README has an operator export, and ports beside the other tests' server."""
    exported = {key: value or "" for key, value in dotenv_values("cluster/ray.env").items()}
    return {
        **os.environ,
        **exported,
        **serving_tiny,
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
    }


@pytest.fixture
def dashboard(environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [
            *(BIN / "ray", "start", "--head", "--block", "--num-cpus=2"),
            *(f"--port={free_port()}", f"--dashboard-port={port}"),
            *("--dashboard-host=127.0.0.1", "--include-dashboard=true"),
        ],
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(lambda: httpx.get(f"{url}/api/version").status_code == 200)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_for(condition: object, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if condition():  # type: ignore[operator]
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("it did not come up")


def test_ray_start_and_serve_deploy(
    environment: dict[str, str], dashboard: str, tmp_path: Path, jpeg: bytes
) -> None:
    config = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port = free_port()
    config["grpc_options"]["port"] = free_port()
    path = tmp_path / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config))

    subprocess.run([BIN / "serve", "deploy", "-a", dashboard, path], env=environment, check=True)
    url = f"http://127.0.0.1:{port}"
    _wait_for(lambda: httpx.get(f"{url}/health/ready").status_code == 200)

    answer = httpx.post(f"{url}/predict", content=jpeg, timeout=30)
    schemas.Prediction.model_validate(answer.json())

    def application() -> Any:
        command = [BIN / "serve", "status", "-a", dashboard]
        status = subprocess.run(command, env=environment, check=True, capture_output=True)
        return yaml.safe_load(status.stdout)["applications"]["dermserve"]

    # Replicas answer a moment before the controller has counted them all.
    _wait_for(lambda: application()["status"] == "RUNNING")
    assert {name: d["status"] for name, d in application()["deployments"].items()} == {
        "ingress": "HEALTHY",
        "preprocessor": "HEALTHY",
        "classifier": "HEALTHY",
        "explainer": "HEALTHY",
        "archive": "HEALTHY",
    }
