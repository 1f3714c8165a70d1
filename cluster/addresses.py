"""Addresses of this machine's server, unless somebody chooses others."""

from __future__ import annotations

DASHBOARD_PORT = 8265
HEAD_PORT = 6379
"""Where other machines find the head, as with `ray start --head`."""
NODE_IP_VARIABLE = "DERMSERVE_NODE_IP"
"""Environment variable: address of this machine, for the others of a cluster."""
SERVER_URL = "http://127.0.0.1:8000"
DASHBOARD_URL = f"http://127.0.0.1:{DASHBOARD_PORT}"
