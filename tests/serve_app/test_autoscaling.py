"""Autoscaling: replicas come with the load and go after it, and do not flap."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from tests.conftest import PROJECT, free_port
from tests.serve_app.autoscaler import SimulatedAutoscaler
from training.promotion.serve_config import APPLICATION

STAGES = ("ingress", "preprocessor", "classifier")
PATIENCE_S = 60.0
TWENTY_MINUTES_S = 1200

Shape = Callable[[float], float]


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "configs" / "cluster.yaml").read_text())
    return loaded


@pytest.fixture
def block(config: dict[str, Any]) -> dict[str, Any]:
    """The classifier's; the other stages' differ in their numbers of replicas and requests."""
    (classifier,) = [
        each for each in config["applications"][0]["deployments"] if each["name"] == "classifier"
    ]
    found: dict[str, Any] = classifier["autoscaling_config"]
    return found


def _noisy(replicas: Shape, block: dict[str, Any], seed: int) -> Shape:
    """A load whose counts vary as those of independent arrivals do.

    Args:
        replicas: that the mean load keeps at their target, at a time in seconds.
    """
    random = np.random.default_rng(seed)
    return lambda at_s: float(random.poisson(replicas(at_s) * block["target_ongoing_requests"]))


def test_a_load_that_jumps_is_met_within_seconds(
    block: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    most = block["max_replicas"]

    def load(at_s: float) -> float:
        return float(block["target_ongoing_requests"] * (most if 60 <= at_s < 120 else 0.5))

    changes = SimulatedAutoscaler(block, monkeypatch).run(load, duration_s=600)
    enough_s = next(at_s for at_s, replicas in changes if replicas == most)
    assert 60 <= enough_s <= 70
    # Afterwards the surplus goes in steps of a minute and a half of it each.
    down = [(at_s, replicas) for at_s, replicas in changes if at_s > enough_s]
    assert down[-1][1] == block["min_replicas"]
    for (earlier_s, more), (later_s, fewer) in zip([(120.0, most), *down], down, strict=False):
        assert later_s - earlier_s >= block["downscale_delay_s"]
        assert more / 2 <= fewer < more


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "replicas",
    [
        pytest.param(lambda at_s: 2, id="exactly two"),
        pytest.param(lambda at_s: 2.5, id="between two and three"),
        pytest.param(lambda at_s: 4 if at_s % 40 < 20 else 0.5, id="20 s on, 20 s off"),
        pytest.param(lambda at_s: 3 + 2 * math.sin(at_s * 2 * math.pi / 60), id="minute waves"),
    ],
)
def test_noise_does_not_make_it_flap(
    block: dict[str, Any], monkeypatch: pytest.MonkeyPatch, replicas: Shape, seed: int
) -> None:
    def changes(block: dict[str, Any]) -> int:
        autoscaler = SimulatedAutoscaler(block, monkeypatch)
        return len(autoscaler.run(_noisy(replicas, block, seed), TWENTY_MINUTES_S))

    assert changes(block) <= 10
    # It is the delay that does it: this load is one that makes others flap.
    assert changes(block | {"downscale_delay_s": 5}) > 20


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_lull_at_the_wrong_moment_costs_half_of_the_replicas_at_most(
    block: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def lowest(block: dict[str, Any]) -> int:
        """Replicas left between bursts, once the first has brought what it takes."""
        load = _noisy(lambda at_s: 6 if at_s % 35 < 5 else 0.5, block, seed)
        changes = SimulatedAutoscaler(block, monkeypatch).run(load, TWENTY_MINUTES_S)
        counts = [replicas for _, replicas in changes]
        return min(counts[counts.index(max(counts)) :])

    # Otherwise the policy takes whatever the last tenth of a second asked for.
    assert lowest(block | {"downscaling_factor": 1}) == 1
    assert lowest(block) >= 3


class Server:
    """`dermserve up` with a configuration, on free ports."""

    def __init__(self, config: Path, environment: dict[str, str]) -> None:
        port, dashboard_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._dashboard_url = f"http://127.0.0.1:{dashboard_port}"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "cluster", "up", "--config", str(config)),
                *("--port", str(port), "--dashboard-port", str(dashboard_port)),
            ],
            env={
                **os.environ,
                **environment,
                # Beside the server of the other tests, which has the default ports. Two replicas
                # that listen on one port would share its requests.
                "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "33000",
                "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "33500",
                "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
                "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            },
            cwd=config.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Server:
        assert self._process.stdout is not None
        said = ""
        while "Stop with Ctrl-C" not in said:
            line = self._process.stdout.readline()
            if not line:
                self._process.kill()
                pytest.fail(f"it ended early: {said}")
            said += line
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            rest, _ = self._process.communicate(timeout=60)
        finally:
            self._process.kill()
        assert self._process.returncode == 0, rest

    def wait_for(self, replicas: int) -> None:
        """Return once each stage has so many that run, and none that starts or stops."""
        client: Any = ServeSubmissionClient(self._dashboard_url)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            deployments = client.get_serve_details()["applications"][APPLICATION]["deployments"]
            seen = {
                stage: [replica["state"] for replica in deployments[stage]["replicas"]]
                for stage in STAGES
            }
            if seen == dict.fromkeys(STAGES, ["RUNNING"] * replicas):
                return
            assert time.monotonic() < deadline, f"not {replicas} of each: {seen}"
            time.sleep(0.2)


@contextlib.contextmanager
def _clients(url: str, image: bytes, count: int, idle: float) -> Iterator[Counter[str]]:
    """Clients that send one image after another until the block ends.

    Args:
        url: of the server.
        image: that they send.
        count: of the clients.
        idle: how often the time that an answer took a client rests before it sends again: as
            many requests are in progress on average, `count / (1 + idle)`, on any machine.

    Yields:
        What they got: "200", or what was wrong, and how often.
    """
    got: Counter[str] = Counter()
    over = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
            while not over.is_set():
                started = time.monotonic()
                try:
                    response = http.post("/predict", content=image)
                    got["200" if response.status_code == 200 else response.text] += 1
                except httpx.HTTPError as error:
                    got[repr(error)] += 1
                over.wait(idle * (time.monotonic() - started))

    with ThreadPoolExecutor(count) as pool:
        clients = [pool.submit(client) for _ in range(count)]
        try:
            yield got
        finally:
            over.set()
    for each in clients:
        each.result()


def test_replicas_come_with_the_load_and_go_after_it(
    config: dict[str, Any], serving_tiny: dict[str, str], jpeg: bytes, tmp_path: Path
) -> None:
    config["http_options"]["host"] = "127.0.0.1"
    # Two logical CPUs hold two replicas of each stage.
    config["applications"][0]["args"]["classifier_cpus"] = 0.25
    for deployment in config["applications"][0]["deployments"]:
        if deployment["name"] in STAGES:
            deployment["autoscaling_config"] |= {
                "max_replicas": 2,
                "target_ongoing_requests": 0.5,
                "metrics_interval_s": 0.25,
                "look_back_period_s": 1,
                "upscale_delay_s": 0.5,
                "downscale_delay_s": 2,
            }
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    with Server(path, serving_tiny) as server:
        server.wait_for(replicas=1)
        with _clients(server.url, jpeg, 12, idle=0) as crowd:
            server.wait_for(replicas=2)
        with _clients(server.url, jpeg, 2, idle=9) as few:
            server.wait_for(replicas=1)
    assert crowd.keys() == {"200"}
    assert few.keys() == {"200"}
