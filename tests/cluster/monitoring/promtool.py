"""promtool, Prometheus' own judge of configurations, rules and queries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

MONITORING = PROJECT / "cluster" / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="Prometheus is not installed; on Debian, `apt install prometheus` does it",
)


def promtool(*arguments: str | Path) -> None:
    """Run it; fails with what it says if it objects."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
