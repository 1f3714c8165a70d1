"""The data path: the settings of Ray's processes that decide how fast a request travels.

They are environment variables read when a Ray process starts. Those of the cluster (the
proxy and the controller) come from `cluster/ray.env`; those of our replicas are set here, so
that neither the cluster nor a user's own Python process has to carry them.
"""

from __future__ import annotations

import os

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message between replicas; Ray's default of 4 MiB is less than a batch."""

REPLICA_ENVIRONMENT = {
    # One event loop per replica: our handlers never block it, and requests need not change
    # threads.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(MAX_MESSAGE_BYTES),
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "100",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""Environment of every replica of the application."""


def describe_data_path() -> dict[str, str]:
    """Which proxy and which transport this replica was configured for."""
    haproxy = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
    return {"proxy": "haproxy" if haproxy else "python", "handles": "grpc by value"}
