"""wrk: the load generator of the closed-loop benchmarks, run as a child process."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.errors import DermServeError

_SCRIPT = Path(__file__).with_name("post_images.lua")


class LoadFailed(DermServeError):
    """A load could not be put on the server."""

    code = "load_failed"


class LoadResult(BaseModel):
    """One run of wrk."""

    model_config = ConfigDict(frozen=True)

    concurrency: int
    requests: int
    seconds: float
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    failed: int
    """Connections that failed or timed out, and answers of status 400 and above."""

    @property
    def rate(self) -> float:
        """Successful requests a second."""
        return (self.requests - self.failed) / self.seconds


def run_wrk(
    url: str,
    files: Sequence[Path],
    *,
    concurrency: int,
    seconds: int,
    headers: Mapping[str, str] | None = None,
) -> LoadResult:
    """Post images in a closed loop: each connection sends its next when it has its answer.

    Args:
        url: of the route.
        files: JPEG images, sent in turn as raw bodies.
        concurrency: connections.
        seconds: length of the run.
        headers: of each request, besides its Content-Type.

    Raises:
        LoadFailed: if wrk is not installed or it cannot reach the server.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadFailed("wrk is not installed. On Debian and Ubuntu: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
        listing.write("\n".join(str(path.resolve()) for path in files))
        listing.flush()
        output = subprocess.run(
            [
                *(wrk, "-t1", f"-c{concurrency}", f"-d{seconds}"),
                *("--timeout", "30s", "-s", str(_SCRIPT)),
                *(f"-H{name}: {value}" for name, value in (headers or {}).items()),
                url,
            ],
            env={**os.environ, "IMAGE_LIST": listing.name},
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
    for line in output.stdout.splitlines():
        if line.startswith("RESULT "):
            return LoadResult.model_validate_json(
                line.removeprefix("RESULT ").replace("{", f'{{"concurrency": {concurrency}, ', 1)
            )
    raise LoadFailed(f"wrk failed: {output.stdout}{output.stderr}")
