"""The Locust file drives a running server, with and without Locust's web page."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import httpx

from cluster.server import LocalServer
from tests.conftest import PROJECT, free_port
from tests.http_server import http_server

LOCUST = (sys.executable, "-m", "locust", "-f", str(PROJECT / "locustfile.py"))


def test_simulated_people_get_answers(server: LocalServer, tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(*LOCUST, "--headless", "--host", server.url, "--users", "8", "--spawn-rate", "8"),
            # The monitor comes to its fourth look after six seconds, on a busy machine later.
            *("--run-time", "15s", "--stop-timeout", "60", "--csv", tmp_path / "load"),
            *("--html", tmp_path / "load.html", "--only-summary"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "load_stats.csv").open(newline="") as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    predictions = {"/predict", "/predict/batch"}
    looks = {"/health", "/health/ready", "/models", "/retrain/status"}
    assert rows.keys() == predictions | looks | {"Aggregated"}
    for row in rows.values():
        assert int(row["Request Count"]) > 0
        assert int(row["Failure Count"]) == 0
    assert "SinglePredictions" in (tmp_path / "load.html").read_text()


def test_the_web_page_starts_them_and_gives_a_report(server: LocalServer) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*LOCUST, "--host", server.url, "--web-host", "127.0.0.1", "--web-port", str(port)],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        transport = httpx.HTTPTransport(retries=8)  # until Locust listens
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=60
        ) as page:
            assert "Locust" in page.get("/").text
            asked = {"user_count": 8, "spawn_rate": 8, "host": server.url}
            assert page.post("/swarm", data=asked).json()["success"]
            rows = _wait_for_requests(page, {"/predict", "/predict/batch", "/health"})
            assert all(row["num_failures"] == 0 for row in rows.values())
            page.get("/stop")
            report = page.get("/stats/report").text
            assert "/predict/batch" in report
    finally:
        process.terminate()
        process.wait(30)


class _Doorkeeper(BaseHTTPRequestHandler):
    """Answers nobody, and remembers what they showed."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[set[str | None]] = set()

    def do_GET(self) -> None:
        self.seen.add(self.headers["authorization"])
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(401)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815


def test_every_request_shows_the_key(tmp_path: Path) -> None:
    with http_server(_Doorkeeper) as door:
        result = subprocess.run(
            [
                *(*LOCUST, "--headless", "--host", door),
                *("--users", "8", "--spawn-rate", "8", "--run-time", "3s", "--only-summary"),
                *("--csv", tmp_path / "load"),
            ],
            cwd=PROJECT,
            env={**os.environ, "DERMSERVE_API_KEY": "ds_1_secret"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert _Doorkeeper.seen == {"Bearer ds_1_secret"}
    assert result.returncode == 1  # an answer that refuses is a failure
    assert "secret" not in result.stdout + result.stderr + (tmp_path / "load_stats.csv").read_text()


def _wait_for_requests(page: httpx.Client, routes: set[str]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        stats = page.get("/stats/requests").json()["stats"]
        rows = {row["name"]: row for row in stats}
        if routes <= rows.keys():
            return rows
        time.sleep(0.2)
    raise AssertionError(f"Only {sorted(rows)} were asked")


def test_the_images_are_those_of_its_own_variable(tmp_path: Path) -> None:
    """Not those of the image store, which a running server keeps in its variable."""
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "a.jpg").write_bytes(b"mine")
    (tmp_path / "stored").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", "import locustfile; print(locustfile.IMAGES)"],
        cwd=PROJECT,
        env=os.environ
        | {
            "DERMSERVE_LOAD_IMAGES": str(tmp_path / "sent"),
            "DERMSERVE_IMAGES": str(tmp_path / "stored"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.strip() == "[b'mine']", run.stderr
