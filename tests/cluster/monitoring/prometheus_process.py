"""A Prometheus of our own: the committed configuration, read more often, on 127.0.0.1."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import yaml

from tests.cluster.monitoring.promtool import MONITORING
from tests.conftest import free_port

PATIENCE_S = 90.0


class PrometheusProcess:
    """Runs while it is entered.

    Args:
        folder: for its files; has to be empty.
        target: host and port of the server.
        key: what it presents to the server.
    """

    def __init__(self, folder: Path, target: str, key: str = "none") -> None:
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] = {
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "evaluation_interval": "2s",
        }
        (served,) = (each for each in config["scrape_configs"] if each["job_name"] == "dermserve")
        served["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "api_key").write_text(key + "\n")  # as the shell writes it
        (folder / "rules").symlink_to(MONITORING / "rules")
        self.address = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PrometheusProcess:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/data",
                    f"--web.listen-address={self.address}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API."""
        response = httpx.get(f"http://{self.address}/api/v1/{path}", params=parameters)
        if response.status_code == 503:  # it listens, and is not ready yet
            response.raise_for_status()
        answer = response.json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now."""
        data = self.get("query", query=expression)
        assert data["resultType"] == "vector", expression
        result: list[dict[str, Any]] = data["result"]
        return result

    def names(self) -> set[str]:
        """The metrics that it has seen."""
        return set(self.get("label/__name__/values"))

    def targets(self, job: str) -> list[dict[str, Any]]:
        """What it scrapes for a job, and how that went."""
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return [target for target in found if target["labels"]["job"] == job]

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until something holds; fails with its own log if that takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if condition():
                    return
            except httpx.HTTPError:  # it is starting
                pass
            assert self._process is not None
            ended = self._process.poll() is not None
            assert not ended, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, what
            time.sleep(0.5)
