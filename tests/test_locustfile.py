"""The Locust file drives a running server."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

from cluster.server import LocalServer
from tests.conftest import PROJECT


def test_simulated_people_get_answers(server: LocalServer, tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", PROJECT / "locustfile.py", "--headless"),
            *("--host", server.url, "--users", "8", "--spawn-rate", "8", "--run-time", "8s"),
            *("--csv", tmp_path / "load", "--only-summary"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    with (tmp_path / "load_stats.csv").open(newline="") as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    for route in ("/predict", "/predict/batch", "/health"):
        assert int(rows[route]["Request Count"]) > 0
        assert int(rows[route]["Failure Count"]) == 0


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
