"""A server of a benchmark's own: `dermserve up` on free ports, with everything it writes apart."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

from benchmarks.free_ports import free_ports
from benchmarks.process_tree import ProcessTree
from benchmarks.wrk import LoadFailed
from data.catalogue.database import CATALOGUE_VARIABLE
from data.image_store import IMAGES_VARIABLE
from models.tracking_uri import REGISTRY_VARIABLE
from training.storage import RUNS_VARIABLE

START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 90.0
_POLL_S = 0.05


def use_own_token() -> None:
    """Let this process and what it starts share a token for Ray that nobody else has.

    Call it before Ray is imported, which reads the environment; the user's own token in the home
    folder is left alone.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


class StartedServer:
    """Runs `dermserve up` as a child process; use it as a context manager.

    Args:
        config: a Serve configuration such as `serve_config.yaml`.
        folder: for registry, catalogue, images, runs and the log; they outlive it.
        environment: variables on top of this process's; may name another place than the folder.
    """

    def __init__(
        self, config: Path, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._config = config
        self._folder = folder
        self._environment = environment or {}
        port, dashboard_port = free_ports(2)
        self._ports = ("--port", str(port), "--dashboard-port", str(dashboard_port))
        self.url = f"http://127.0.0.1:{port}"
        self.dashboard_url = f"http://127.0.0.1:{dashboard_port}"
        self.ready_s = 0.0
        """From the start of the command to the first answer of 200 by `/health/ready`."""
        self.process: subprocess.Popen[bytes]
        """`dermserve up`."""
        self.tree: ProcessTree

    def __enter__(self) -> StartedServer:
        """Raises: LoadFailed: if it ends, or is not ready in time."""
        places = {
            REGISTRY_VARIABLE: f"sqlite:///{self._folder}/mlflow.db",
            CATALOGUE_VARIABLE: f"sqlite:///{self._folder}/catalogue.db",
            IMAGES_VARIABLE: f"{self._folder}/images",
            RUNS_VARIABLE: f"{self._folder}/runs",
        }
        self._log = self._folder / "server.log"
        began = time.monotonic()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cluster", "up"),
                    *("--config", str(self._config.resolve()), *self._ports),
                ],
                env={**os.environ, **places, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends it
            )
        try:
            self._wait_until_ready(began + START_TIMEOUT_S)
            self.ready_s = time.monotonic() - began
            self.tree = ProcessTree.of_url(self.url)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _wait_until_ready(self, deadline: float) -> None:
        with httpx.Client(timeout=10) as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise LoadFailed(f"dermserve up has ended: {self._last_words()}")
                try:
                    if client.get(f"{self.url}/health/ready").status_code == 200:
                        return
                except httpx.HTTPError:
                    pass  # not yet
                time.sleep(_POLL_S)
        raise LoadFailed(
            f"The server was not ready after {START_TIMEOUT_S:.0f} s: {self._last_words()}"
        )

    def _stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # what it has started ends with it
            self.process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return " ".join(line.strip() for line in lines if line.strip())[-500:]
