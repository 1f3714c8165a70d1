"""The dashboard in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dermserve_client.connection import API_KEY_VARIABLE, URL_VARIABLE
from tests.conftest import PROJECT, free_port
from tests.dashboard.keyed import KEY

_START_S = 60.0


@contextmanager
def running_dashboard(server_url: str, folder: Path) -> Iterator[str]:
    """Start the dashboard, and end it.

    Args:
        server_url: of the server that it is a client of.
        folder: for its log, and for whatever Streamlit looks for at home.

    Yields:
        Its address.
    """
    port = free_port()
    log = folder / "dashboard.log"
    environment = {
        **os.environ,
        URL_VARIABLE: server_url,
        API_KEY_VARIABLE: KEY,  # of whoever starts it; no visitor may act with that
        "HOME": str(folder),  # nothing that a developer has set for Streamlit
    }
    command = [sys.executable, "-m", "dashboard", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/_stcore/health", process, log)
        yield url
    finally:
        process.terminate()
        process.wait(20)
    # What a page hides from its reader stands there.
    assert "Traceback" not in log.read_text("utf-8")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text("utf-8")
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(log.read_text("utf-8"))
